"""The floor plan: which pane lies where at a terminal size. Pure, so that every size can be checked.

Narrow terminals show one view at a time; from 100 columns on two columns, from 160 three.
"""

from __future__ import annotations

from engine.record.frozen import dataclass

MIN_WIDTH, MIN_HEIGHT = 60, 15
MID, WIDE = 100, 160


@dataclass(frozen=True, slots=True)
class Placed:
    """A pane's place, in cells. `tabs` are the views that share its place; `edge` when a column lies to the left."""

    pane: str
    x: int
    y: int
    width: int
    height: int
    tabs: tuple[int, ...] = ()
    edge: bool = False


VIEWS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("Scores", ("scores", "transcript")),
    2: ("Transcript", ("transcript",)),
    3: ("Versions", ("trajectory", "versions")),
    4: ("Output", ("output",)),
    5: ("Steering", ("supervisor", "commands")),
    6: ("Attempts", ("attempts",)),
    7: ("Context", ("context",)),
}
_SLOT = (4, 5, 6, 7)


def view_of(pane: str) -> int:
    """The view that a pane belongs to first."""
    if pane == "transcript":
        return 2
    return next(n for n, (_, panes) in VIEWS.items() if pane in panes)


def turns(view: int) -> list[str]:
    """The panes that a view's number goes to, one after the other: what can be chosen from before a plot."""
    own = [pane for pane in VIEWS[view][1] if view_of(pane) == view]
    return sorted(own, key=lambda pane: pane == "trajectory")


def too_small(width: int, height: int) -> bool:
    """Whether the room does not fit."""
    return width < MIN_WIDTH or height < MIN_HEIGHT


def plan(width: int, height: int, view: int, *, zoom: str = "", scores: int = 11) -> list[Placed]:
    """The panes' places in a body of `width` x `height` cells.

    `view` is the one that was chosen with a number key, `zoom` a pane that fills the body,
    `scores` the rows that the score table wants.
    """
    if zoom:
        return [Placed(zoom, 0, 0, width, height)]
    if width >= WIDE and height >= 30:
        return _wide(width, height, scores)
    if width >= MID and height >= 24:
        return _mid(width, height, view, scores)
    return _stack(view, 0, 0, width, height, tabs=tuple(VIEWS), scores=scores)


def _stack(
    view: int, x: int, y: int, width: int, height: int, *, tabs: tuple[int, ...], scores: int, edge: bool = False
) -> list[Placed]:
    """One view's panes, one above the other."""
    panes = VIEWS[view][1]
    if view == 1 and height >= 36:
        panes = ("scores", "trajectory", "transcript")
    heights = _heights(panes, height, scores)
    placed = []
    for i, (pane, high) in enumerate(zip(panes, heights, strict=True)):
        placed.append(Placed(pane, x, y, width, high, tabs if i == 0 else (), edge))
        y += high
    return placed


def _heights(panes: tuple[str, ...], height: int, scores: int) -> list[int]:
    if len(panes) == 1:
        return [height]
    if panes[0] == "scores":
        first = min(scores + 1, height - (4 if len(panes) == 2 else 12))
        rest = height - first
        return [first, rest] if len(panes) == 2 else [first, rest // 3, rest - rest // 3]
    first = height * 9 // 20 if panes[0] == "trajectory" else height * 3 // 5
    return [first, height - first]


def _mid(width: int, height: int, view: int, scores: int) -> list[Placed]:
    left = max(width * 11 // 20, 56)
    top = min(scores + 1, height // 2)
    right, x = width - left, left
    plot = max(height * 3 // 10, 8)
    tree = max(height * 3 // 10, 7)
    slot = view if view in _SLOT else 4
    rest = height - plot - tree
    return [
        Placed("scores", 0, 0, left, top),
        Placed("transcript", 0, top, left, height - top),
        Placed("trajectory", x, 0, right, plot, edge=True),
        Placed("versions", x, plot, right, tree, edge=True),
        *_stack(slot, x, plot + tree, right, rest, tabs=_SLOT, scores=scores, edge=True),
    ]


def _wide(width: int, height: int, scores: int) -> list[Placed]:
    first, second = width * 7 // 20, width * 6 // 20
    third = width - first - second
    top = min(scores + 1, height // 3)
    rest = height - top
    plot, tree = height * 3 // 10, height * 3 // 10
    talk = height * 3 // 5
    seen = (height - talk) * 3 // 5
    x, x2 = first, first + second
    return [
        Placed("scores", 0, 0, first, top),
        Placed("attempts", 0, top, first, rest // 2),
        Placed("output", 0, top + rest // 2, first, rest - rest // 2),
        Placed("trajectory", x, 0, second, plot, edge=True),
        Placed("versions", x, plot, second, tree, edge=True),
        Placed("context", x, plot + tree, second, height - plot - tree, edge=True),
        Placed("transcript", x2, 0, third, talk, edge=True),
        Placed("supervisor", x2, talk, third, seen, edge=True),
        Placed("commands", x2, talk + seen, third, height - talk - seen, edge=True),
    ]
