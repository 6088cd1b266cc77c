"""Where the shipped problems and knowledge pages lie: the checkout's folders, or the wheel's copies."""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
_WHEEL = Path(__file__).resolve().parent / "_shipped"


def kernels_directory() -> Path:
    """The folder of problems, one folder each."""
    return _of("kernels")


def knowledge_directory() -> Path:
    """The folder of knowledge pages."""
    return _of("knowledge")


def _of(name: str) -> Path:
    shipped = _WHEEL / name
    return shipped if shipped.is_dir() else _CHECKOUT / name
