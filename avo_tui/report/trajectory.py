"""The trajectory of a run, drawn: over its attempts, and over its versions for each group of configurations.

After the paper's figures 5 and 6: the best version as steps, each version's own geomean, the baselines dashed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from avo_tui.report.drawing import (
    Area,
    Box,
    Dot,
    Drawing,
    Labels,
    Path,
    Point,
    Scale,
    Text,
    clipped,
    label_of,
    text_width,
    ticks,
    value_scale,
)
from avo_tui.report.facts import OUTCOMES, Facts, Mark, jumps, mean_of
from avo_tui.tables import one_line, span
from engine.record.reader import Version

WIDTH, HEIGHT = 960.0, 450.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 128.0, 40.0, 62.0
JUMPS = 6
LABEL = 10.5
CROWDED = 400  # marks beyond which names may cover them
PANEL_HEIGHT = 262.0


def trajectory(facts: Facts) -> Drawing:
    """Every attempt as a mark, the best version as steps, baselines dashed, the largest jumps named."""
    s, (unit, name) = facts.summary, facts.unit
    drawing = Drawing(WIDTH, HEIGHT, f"Throughput of every attempt and of the best version of run {s.run}")
    measured = [v for v in s.versions if v.geomean_tflops]
    if not measured:
        drawing.add(Text(WIDTH / 2, HEIGHT / 2, "no version was committed", "quiet", 14, "middle"))
        return drawing
    rivals = {n: b.geomean_tflops / unit for n, b in s.baselines.items() if b.geomean_tflops}
    values = [v.geomean_tflops / unit for v in measured if v.geomean_tflops]
    shown = [m.geomean / unit for m in facts.marks if m.geomean]
    every = [*values, *rivals.values(), *(v for v in shown if v > min(values) / 3)]
    y = value_scale(every, HEIGHT - BOTTOM, TOP)
    last = max((*(m.attempt for m in facts.marks), *(v.attempt for v in measured)))
    x = Scale(-0.6, last + 0.6, LEFT, WIDTH - RIGHT)
    axes(drawing, y, (LEFT, WIDTH - RIGHT), f"geomean over all configurations ({name})")
    _attempt_axis(drawing, x, facts)
    labels = Labels()
    labels.shun(*((LEFT, y(value) - 2, WIDTH - RIGHT, y(value) + 2) for value in rivals.values()))
    baselines(drawing, y, rivals, (LEFT, WIDTH - RIGHT))
    for mark in facts.marks:
        _mark(drawing, mark, x, y, unit)
        if mark.geomean and len(facts.marks) < CROWDED:
            labels.shun(_around((x(mark.attempt), y(max(mark.geomean / unit, y.low or 1e-9))), 4))
    steps = _steps([(x(v.attempt), y((v.geomean_tflops or 0.0) / unit)) for v in _climbing(measured)], WIDTH - RIGHT)
    drawing.add(Path(tuple(steps), "best", 2.4))
    for v in measured:
        _version(drawing, v, x(v.attempt), y((v.geomean_tflops or 0.0) / unit), unit, name)
    labels.keep(*(_around((x(v.attempt), y((v.geomean_tflops or 0.0) / unit)), 6) for v in measured))
    labels.keep(*(_between(a, b) for a, b in pairwise(steps)))
    named = [(v, gain, (x(v.attempt), y((v.geomean_tflops or 0.0) / unit))) for v, gain in jumps(measured, JUMPS)]
    for v, gain, at in sorted(named, key=lambda jump: _turn(jump[2][0])):
        _jump(drawing, labels, v, gain, at)
    _legend(drawing, facts)
    return drawing


def panels(facts: Facts) -> Drawing:
    """For each group of configurations its geomean from version to version, two panels a row."""
    groups, (unit, name) = facts.groups, facts.unit
    versions = [v for v in facts.summary.versions if v.active and v.geomean_tflops]
    rows = (len(groups) + 1) // 2
    drawing = Drawing(
        WIDTH, max(rows, 1) * PANEL_HEIGHT, "Throughput of the versions, for each group of configurations"
    )
    for n, (group, names) in enumerate(groups.items()):
        left, top = (n % 2) * WIDTH / 2, (n // 2) * PANEL_HEIGHT
        right = left + (WIDTH / 2 if len(groups) > 1 else WIDTH)
        series = [(v, value / unit) for v in versions if (value := mean_of(v.score, names))]
        rivals = {b: value / unit for b, score in facts.summary.baselines.items() if (value := mean_of(score, names))}
        if series:
            _panel(drawing, (left, top, right, top + PANEL_HEIGHT), series, rivals, f"{group or 'all'} ({name})")
    return drawing


def _panel(
    drawing: Drawing,
    box: tuple[float, float, float, float],
    series: Sequence[tuple[Version, float]],
    rivals: dict[str, float],
    title: str,
) -> None:
    left, top, right, bottom = box[0] + 46, box[1] + 30, box[2] - 96, box[3] - 40
    y = value_scale([value for _, value in series] + list(rivals.values()), bottom, top)
    x = Scale(-0.5, len(series) - 0.5, left, right)
    drawing.add(Text(left, top - 12, title, "ink", 12, bold=True))
    axes(drawing, y, (left, right), "", about=4)
    every = max(1, -(-len(series) // 14))
    for i, (v, _) in enumerate(series):
        if i % every == 0 or i == len(series) - 1:
            drawing.add(Text(x(i), bottom + 15, f"v{v.version}", "quiet", 9.5, "middle"))
    baselines(drawing, y, rivals, (left, right), size=9.5)
    points = [(x(i), y(value)) for i, (_, value) in enumerate(series)]
    drawing.add(Path(tuple(_steps(points, right)), "best", 2.2))
    for (px, py), (v, value) in zip(points, series, strict=True):
        drawing.add(Dot(px, py, 3.0, "best", tip=f"v{v.version} {one_line(v.name, 80)}: {value:.4g}"))


def axes(drawing: Drawing, y: Scale, across: Point, label: str, *, about: int = 6) -> None:
    """The value axis with its grid, and the ground line."""
    left, right = across
    for value in ticks(y, about):
        drawing.add(Path(((left, y(value)), (right, y(value))), "grid", 0.8))
        drawing.add(Text(left - 8, y(value) + 3.6, label_of(value), "quiet", 10, "end"))
    drawing.add(Path(((left, y.start), (right, y.start)), "axis", 1.0))
    if label:
        drawing.add(Text(left - 46, (y.start + y.end) / 2, label, "quiet", 11, "middle", turned=True))


def baselines(drawing: Drawing, y: Scale, rivals: dict[str, float], across: Point, *, size: float = LABEL) -> None:
    """Each baseline as a dashed line with its name and figure at the right end, none upon another."""
    at = {name: y(value) for name, value in rivals.items()}
    written: list[float] = []
    for n, (name, place) in enumerate(sorted(at.items(), key=lambda item: item[1])):
        row = max(place + 3.6, written[-1] + size + 2.5) if written else place + 3.6
        written.append(row)
        role = role_of(list(rivals).index(name))
        drawing.add(Path(((across[0], place), (across[1], place)), role, 1.4, dash=(6, 4)))
        drawing.add(Text(across[1] + 7, row, f"{name} {rivals[name]:.4g}", role, size, bold=n == 0))


def role_of(baseline: int) -> str:
    """The role that a baseline is drawn in; the strongest is number 0."""
    return f"base{min(baseline, 3)}"


def _attempt_axis(drawing: Drawing, x: Scale, facts: Facts) -> None:
    """Numbers of attempts, and below them how long the run had gone on."""
    s, ground = facts.summary, HEIGHT - BOTTOM
    at = {v.attempt: v.created_at - s.created_at for v in s.versions} | {m.attempt: m.at_s for m in facts.marks}
    for value in ticks(x, 9):
        if value == int(value):
            drawing.add(Path(((x(value), ground), (x(value), ground + 4)), "axis", 1.0))
            drawing.add(Text(x(value), ground + 17, label_of(value), "quiet", 10, "middle"))
            near = min(at, key=lambda n, v=value: abs(n - v))  # type: ignore[misc]
            drawing.add(Text(x(value), ground + 30, span(at[near]), "faint", 8.5, "middle"))
    drawing.add(
        Text((LEFT + WIDTH - RIGHT) / 2, ground + 48, "attempt, and time since the run began", "quiet", 11, "middle")
    )


def _mark(drawing: Drawing, mark: Mark, x: Scale, y: Scale, unit: float) -> None:
    at = x(mark.attempt)
    tip = f"a{mark.attempt} {one_line(mark.name, 80)}: {OUTCOMES[mark.outcome]}"
    if mark.geomean is None:
        drawing.add(Box(at - 1, y.start - 9, 2, 9, "bad", tip=tip))
        return
    place = min(y(max(mark.geomean / unit, y.low or 1e-9)), y.start)
    refused = mark.outcome in ("regressed", "incorrect")
    if mark.version is None:
        drawing.add(Dot(at, place, 2.8, "refused" if refused else "tried", 0.9, hollow=not refused, tip=tip))


def _climbing(versions: Sequence[Version]) -> Iterator[Version]:
    """The active versions that were best when they were committed."""
    best = 0.0
    for v in versions:
        if v.active and (v.geomean_tflops or 0.0) >= best:
            best = v.geomean_tflops or 0.0
            yield v


def _steps(points: Sequence[Point], right: float) -> list[Point]:
    """Across at each height until the next point, then up, and on to the right edge."""
    found: list[Point] = []
    for at, height in points:
        if found:
            found.append((at, found[-1][1]))
        found.append((at, height))
    return [*found, (right, found[-1][1])]


def _version(drawing: Drawing, v: Version, x: float, y: float, unit: float, name: str) -> None:
    state = "" if v.active else ", withdrawn"
    tip = f"v{v.version} {one_line(v.name, 80)}: {(v.geomean_tflops or 0.0) / unit:.4g} {name}{state}"
    drawing.add(Dot(x, y, 4.2, "best" if v.active else "quiet", hollow=not v.active, tip=tip))


def _around(at: Point, by: float) -> Area:
    return (at[0] - by, at[1] - by, at[0] + by, at[1] + by)


def _between(a: Point, b: Point) -> Area:
    return (min(a[0], b[0]) - 2, min(a[1], b[1]) - 2, max(a[0], b[0]) + 2, max(a[1], b[1]) + 2)


def _early(x: float) -> bool:
    return x < (LEFT + WIDTH - RIGHT) / 2


def _turn(x: float) -> float:
    """The order in which jumps are named so that no leader crosses a name: from the middle outwards on each side."""
    return -x if _early(x) else x


def _jump(drawing: Drawing, labels: Labels, v: Version, gain: float, at: Point) -> None:
    """A jump's name: below the curve on the left half, above it on the right, where the curve is not."""
    x, y = at
    early = _early(x)
    room = (WIDTH - RIGHT - x - 26) if early else (x - LEFT - 26)
    text = clipped(f"v{v.version}  {gain:.3g}×  {one_line(v.name)}", min(room, 330.0), LABEL)
    wide = text_width(text, LABEL) + 8
    left = x + 16 if early else x - 16 - wide
    limits = (TOP + 4, HEIGHT - BOTTOM - 14)
    row = labels.place(left, y + 20 if early else y - 12, wide, LABEL, 5 if early else -5, limits)
    if row is None:
        return
    end = (left - 2, row - 3.5) if early else (left + wide + 2, row - 3.5)
    drawing.add(Path((at, end), "quiet", 0.8))
    drawing.add(
        Text(left + (2 if early else wide - 2), row, text, "ink", LABEL, "start" if early else "end", halo=True)
    )


def _legend(drawing: Drawing, facts: Facts) -> None:
    """What the marks mean: only those that occur."""
    x, y = LEFT, 22.0
    entries = [("best version", "line"), ("version", "version")]
    entries += [("tried, not submitted", "tried")] if facts.outcomes.get("unsubmitted") else []
    refused = facts.outcomes.get("regressed", 0) + facts.outcomes.get("incorrect", 0)
    entries += [("refused by the gate", "refused")] if refused else []
    entries += [("failed", "bad")] if facts.outcomes.get("failed") or facts.outcomes.get("incorrect") else []
    for text, kind in entries:
        if kind == "line":
            drawing.add(Path(((x, y - 4), (x + 20, y - 4)), "best", 2.4))
        elif kind == "bad":
            drawing.add(Box(x + 13, y - 9, 2, 9, "bad"))
        else:
            role = "best" if kind == "version" else kind
            drawing.add(Dot(x + 14, y - 4, 4.2 if kind == "version" else 2.8, role, hollow=kind == "tried"))
        drawing.add(Text(x + 26, y, text, "quiet", 11))
        x += 26 + text_width(text, 11) + 20
