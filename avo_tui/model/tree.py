"""The versions, newest first, as a tree: the head's line to the left, withdrawn branches beside it."""

from __future__ import annotations

from avo_tui.model import show
from avo_tui.model.lines import Line, Row, Span, clip_text, left, right, width_of
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from engine.record.reader import Version

VERDICTS = {"improved": ("✓", "good"), "matched": ("≈", "info"), "regressed": ("▼", "bad"), "incorrect": ("✗", "bad")}


def lanes(versions: tuple[Version, ...]) -> dict[int, int]:
    """The lane of each version: 0 for the head's own line, 1 and up for withdrawn branches."""
    found: dict[int, int] = {}
    parents = {v.version: v.parent for v in versions}
    busy: dict[int, int] = {}  # lane -> the version down to which it is taken
    for v in reversed(versions):
        if v.active:
            found[v.version] = 0
            continue
        child = next((c for c, p in parents.items() if p == v.version and found.get(c, 0) > 0), None)
        if child is not None:
            found[v.version] = found[child]
            continue
        lane = next(n for n in range(1, len(versions) + 2) if busy.get(n, 1 << 60) > v.version)
        root: int | None = v.version
        while root is not None and found.get(root) != 0 and not _is_active(versions, root):
            root = parents.get(root)
        busy[lane] = root if root is not None else -1
        found[v.version] = lane
    return found


def _is_active(versions: tuple[Version, ...], number: int) -> bool:
    return any(v.version == number and v.active for v in versions)


def tree(s: Snapshot, view: View) -> list[Row]:
    """A row for each version, newest first; keys are version numbers."""
    if not s.versions:
        return [Row((("  no version yet", "dim"),))]
    lane = lanes(s.versions)
    across = min(max(lane.values()), 3) + 1
    unit = show.unit_for([v.geomean_tflops for v in s.versions])
    digits = max(len(unit.text(v.geomean_tflops)) for v in s.versions)
    rows: list[Row] = []
    open_lanes: dict[int, int] = {}  # lane -> lowest version number still to come in it
    for v in s.versions:
        open_lanes[lane[v.version]] = min(open_lanes.get(lane[v.version], v.version), v.version)
    for v in reversed(s.versions):
        if view.wants(f"v{v.version} {v.name} {v.verdict} {v.commit} {'' if v.active else 'withdrawn'}"):
            graph = _graph(v, lane, open_lanes, across)
            rows.append(Row(_line(s, v, view, graph, right(unit.text(v.geomean_tflops), digits)), v.version))
    return rows


def _graph(v: Version, lane: dict[int, int], lowest: dict[int, int], across: int) -> str:
    marks = []
    for n in range(across):
        if n == min(lane[v.version], across - 1):
            marks.append("●" if v.active else "○")
        elif n == 0 and v.version > lowest.get(0, 0):
            marks.append("│")
        else:
            members = [k for k, m in lane.items() if m == n and n > 0]
            marks.append("│" if members and min(members) < v.version < max(members) else " ")
    return "".join(marks)


def _line(s: Snapshot, v: Version, view: View, graph: str, figure: str) -> Line:
    head = v.version == s.head
    mark, role = VERDICTS.get(v.verdict, ("·", "dim"))
    quiet = "" if v.active else "dim"
    number: Span = (left(f"v{v.version}", 5), "accent" if head else quiet)
    spans: list[Span] = [
        (f" {graph} ", "plot" if v.active else "dim"),
        number,
        (figure, "strong" if head else quiet),
        (right(show.ratio(v.ratio, 3) if v.ratio else "seed", 9), role if v.active else "dim"),
        (f" {mark} ", role if v.active else "dim"),
    ]
    tail: list[Span] = []
    if view.marked == v.version:
        tail.append((" marked", "info"))
    if head:
        tail.append((" best", "accent"))
    elif not v.active:
        tail.append((" withdrawn", "dim"))
    ago = right(show.age(s.taken_at - v.created_at), 5)
    room = view.width - width_of(tuple(spans)) - width_of(tuple(tail)) - len(ago) - 1
    if room >= 8:
        spans.append((left(clip_text(v.name, room), room), quiet))
    return (*spans, *tail, (ago, "dim"))
