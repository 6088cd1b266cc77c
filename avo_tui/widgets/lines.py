"""Lines: a fixed block of text lines inside a dialog."""

from __future__ import annotations

from collections.abc import Sequence

from avo_tui.model.lines import EMPTY, Line, clip
from avo_tui.widgets.painted import Painted, Painting


class Lines(Painted):
    """Shows the lines it was given; as high as they are many."""

    DEFAULT_CSS = "Lines { height: auto; background: $background; }"

    def __init__(self, lines: Sequence[Line] = (), id: str | None = None, *, most: int = 30) -> None:
        super().__init__(id=id)
        self._given = tuple(lines)
        self._most = most

    def set(self, lines: Sequence[Line]) -> None:
        """Show other lines."""
        grew = len(lines) != len(self._given)
        self._given = tuple(lines)
        if grew:
            self.refresh(layout=True)
        self.repaint(everything=grew)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        """One row for each line."""
        return min(len(self._given), self._most)

    def paint(self, width: int, height: int) -> list[Painting]:
        """The lines."""
        shown = [*self._given[:height], *([EMPTY] * (height - len(self._given)))]
        return [(clip(line, width), "") for line in shown]
