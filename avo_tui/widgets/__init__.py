"""The room's widgets. Each draws lines of roles that a model computed, and repaints only the cells that changed."""
