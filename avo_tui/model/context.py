"""Context: the host, the plan, directions, knowledge in use and notes."""

from __future__ import annotations

from avo_tui.model import show
from avo_tui.model.host import host_rows
from avo_tui.model.lines import Line, Row, clean, clip_text, one_line, spread, wrap
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from engine.record.reader import Direction

_STATES = {
    "pursued": ("→", "accent"),
    "pinned": ("◆", "you"),
    "vetoed": ("✗", "you"),
    "improved": ("✓", "good"),
    "matched": ("≈", "info"),
    "regressed": ("▼", "dim"),
    "incorrect": ("✗", "bad"),
    "skipped": ("·", "dim"),
    "declined": ("✗", "warn"),
    "obeyed": ("✓", "you"),
    "seen": ("◌", "you"),
    "sent": ("◌", "you"),
}
_PLAN = {"done": ("✓", "good"), "active": ("→", "accent"), "pending": ("·", "dim"), "dropped": ("✗", "dim")}


def context(s: Snapshot, view: View) -> list[Row]:
    """Sections one below the other; directions have keys ("direction", id)."""
    rows: list[Row] = []
    if s.at is None and s.state in ("running", "paused", "stopping"):
        rows += [_section("host", view.width)]
        rows += host_rows(s.load, s.engine.host if s.engine else "", s.here, view.width)
    if s.plan:
        rows += [_section("plan", view.width), *(_plan(item, view.width) for item in s.plan)]
    found = [d for d in _ordered(s.directions) if view.wants(f"{d.name} {d.source} {d.state} {d.why}")]
    rows += [_section(f"{show.count(len(s.directions), 'direction')}", view.width)]
    rows += [_direction(s, d, view.width) for d in found]
    if s.pages:
        rows += [_section("knowledge in use", view.width)]
        rows += [
            Row(spread(((f"   {clean(page)}", ""),), ((f"read {n}× ", "dim"),), view.width)) for page, n in s.pages
        ]
    if s.notes:
        rows += [_section("notes", view.width)]
        for _, text in s.notes:
            lines = wrap(clean(text), view.width - 4)
            rows += [Row(((" ✎ " if i == 0 else "   ", "info"), (line, ""))) for i, line in enumerate(lines)]
    return rows


def _section(name: str, width: int) -> Row:
    return Row((("  " + name + " ", "dim"), ("┈" * max(width - len(name) - 4, 0), "faint")))


def _plan(item: tuple[str, str, str], width: int) -> Row:
    _, text, state = item
    mark, role = _PLAN.get(state, ("·", "dim"))
    words = {"active": "strong", "dropped": "dim"}.get(state, "")
    return Row(((f" {mark} ", role), (clip_text(one_line(text), width - 4), words)))


def _ordered(directions: tuple[Direction, ...]) -> list[Direction]:
    """Pursued and pinned ones first, then the latest; those only offered last."""
    first = {"pursued": 0, "pinned": 1, "sent": 1, "seen": 1, "offered": 3}
    return sorted(directions, key=lambda d: (first.get(d.state, 2), -d.at))


def _direction(s: Snapshot, d: Direction, width: int) -> Row:
    mark, role = _STATES.get(d.state, ("·", "dim"))
    tried = f"{d.tried}× " if d.tried > 1 else ""
    who = f"{d.source} " if d.source in ("person", "supervisor") else ""
    head: Line = ((f" {mark} ", role), (one_line(d.name), "strong" if d.state == "pursued" else ""))
    tail: Line = ((who, "you" if d.source == "person" else "super"), (f"{tried}{d.state} ", role),
                  (f"{show.age(s.taken_at - d.at):>3} ", "dim"))  # fmt: skip
    return Row(spread(head, tail, width), ("direction", d.direction))
