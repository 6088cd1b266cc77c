"""Colours of roles, for paper and for dark screens. Told apart without colour sight (after Okabe and Ito)."""

from __future__ import annotations

LIGHT = {
    "ground": "#ffffff",
    "ink": "#1b1f24",
    "quiet": "#57606a",
    "faint": "#8c959f",
    "axis": "#8c959f",
    "grid": "#e4e7eb",
    "best": "#0b62c4",
    "tried": "#8ba3bf",
    "refused": "#8c959f",
    "bad": "#cf4a1f",
    "base0": "#b8610a",
    "base1": "#0a7f5f",
    "base2": "#a04a86",
    "base3": "#6e7681",
}
DARK = {
    "ground": "#14181d",
    "ink": "#e6e9ed",
    "quiet": "#a3adb8",
    "faint": "#77818c",
    "axis": "#77818c",
    "grid": "#2a3038",
    "best": "#6cb2ff",
    "tried": "#6f86a3",
    "refused": "#8a939d",
    "bad": "#ff8a5c",
    "base0": "#f0a04b",
    "base1": "#3fc79a",
    "base2": "#d890c4",
    "base3": "#98a1ac",
}


def variables(colours: dict[str, str]) -> str:
    """The colours as CSS variables."""
    return " ".join(f"--{role}:{colour};" for role, colour in colours.items())
