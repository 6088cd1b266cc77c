"""View: what a person chose to see, beside the moment itself. Panes are functions of (Snapshot, View)."""

from __future__ import annotations

from engine.record.frozen import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """The room a pane has (cells), and the person's choices for it.

    `order` and `unfold` cycle with keys; `filter` is the text of `/`; `marked` the version
    that diffs compare against; `ascii` draws without braille and box characters.
    """

    width: int = 80
    height: int = 20
    ascii: bool = False
    order: int = 0
    filter: str = ""
    marked: int | None = None

    def wants(self, text: str) -> bool:
        """Whether the filter keeps a row with this text: every word must occur; `!word` must not."""
        low = text.lower()
        return all(
            (word[1:] not in low) if word.startswith("!") and word[1:] else word in low
            for word in self.filter.lower().split()
        )
