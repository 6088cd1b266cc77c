"""A compositor that composes only what changed.

Textual's own asks every visible widget for all its lines, however small the change; most of a live room's time went
there. It leans on one private method: should Textual no longer call it, everything is drawn as it was, only slower.
"""

from __future__ import annotations

from collections.abc import Iterable

from textual._compositor import Compositor
from textual.geometry import Region
from textual.strip import Strip


class Sparing(Compositor):
    """Asks for the lines within the part of the screen that is drawn anew, of the widgets that reach into it."""

    def _get_renders(self, crop: Region | None = None) -> Iterable[tuple[Region, Region, list[Strip]]]:
        """(region, clip, strips) of every widget within `crop`, the whole screen when it is None."""
        for widget, (region, clip) in self.visible_widgets.items():
            seen = region.intersection(clip)
            if crop is not None and seen.overlaps(crop):
                rows = Region(seen.x, crop.y, seen.width, crop.height)
                seen = seen.intersection(rows)
            elif crop is not None:
                continue
            if seen:
                yield seen, clip, widget.render_lines(seen.translate((-region.x, -region.y)))
