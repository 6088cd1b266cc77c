"""The room's screens: the room itself, reviews, and dialogs."""
