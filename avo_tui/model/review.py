"""A review: everything that is known about one version or one attempt, and how it is laid out.

`load` reads it (slow: git, artifacts, Pygments; call it in a thread), the rest are pure functions of it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Literal

from avo_tui import summary
from avo_tui.model import diff, show, syntax
from avo_tui.model.diff import Colours, DiffLine
from avo_tui.model.lines import (
    EMPTY,
    Line,
    Row,
    Span,
    clean,
    clip_text,
    cut,
    fit,
    join_fitting,
    left,
    one_line,
    right,
    width_of,
    wrap,
)
from avo_tui.model.output import read_log
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.tree import VERDICTS
from avo_tui.model.tries import outcome
from avo_tui.model.view import View
from engine.record import events as ev
from engine.record.errors import AvoError
from engine.record.frozen import dataclass
from engine.record.reader import Attempt, Entry, Reader, Version
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score

Base = Literal["parent", "seed", "marked", "best"]
NEAR = 6  # events
STORY_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Subject:
    """What is reviewed: a version, or an attempt that may have become none."""

    version: int | None = None
    attempt: int | None = None

    @property
    def name(self) -> str:
        """Its short name."""
        return f"v{self.version}" if self.version is not None else f"a{self.attempt}"


@dataclass(frozen=True, slots=True)
class Review:
    """Everything about a subject. `files` are its sources where the lineage has them, `before` those of the base.

    `before` is None where only the diff is known; `colours` come later (`coloured`).
    """

    subject: Subject
    attempt: Attempt | None = None
    version: Version | None = None
    score: Score | None = None
    parent: Version | None = None
    base: str = ""
    diff: tuple[DiffLine, ...] = ()
    diff_text: str = ""
    colours: Colours = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    before: Mapping[str, str] | None = field(default_factory=dict)
    profile: str = ""
    log: str = ""
    story: tuple[Entry, ...] = ()
    trouble: str = ""


def load(folder: RunFolder, reader: Reader, subject: Subject, base: Base, marked: int | None) -> Review:
    """Read everything about a subject, compared with a base version."""
    version = reader.version(subject.version) if subject.version is not None else None
    number = version.attempt if version else subject.attempt
    attempt = reader.attempt(number) if number is not None else None
    if attempt is not None and version is None and attempt.version is not None:
        version = reader.version(attempt.version)
    if version is None and attempt is None:
        return Review(subject, trouble=f"there is no {subject.name} in this run")
    score = version.score if version else reader.attempt_score(attempt.attempt) if attempt else None
    parent_number = version.parent if version else attempt.parent if attempt else None
    parent = reader.version(parent_number) if parent_number is not None else None
    against = _base(reader, base, marked, parent)
    text, files, before, trouble = _diff(folder, reader, version, attempt, against, parent)
    seq = version.seq if version else attempt.seq if attempt else 0
    return Review(
        subject,
        attempt,
        version,
        score,
        parent,
        base=f"v{against.version}" if against else "nothing",
        diff=tuple(diff.parse(text)),
        diff_text=text,
        files=files,
        before=before,
        profile=_profile(reader, attempt, seq),
        log=_log(folder, attempt, score),
        story=_story(reader, version, attempt),
        trouble=trouble,
    )


def _base(reader: Reader, base: Base, marked: int | None, parent: Version | None) -> Version | None:
    numbers = {"seed": 0, "marked": marked, "best": reader.head()}
    if base == "parent" or numbers.get(base) is None:
        return parent
    return reader.version(int(numbers[base] or 0))


def _diff(
    folder: RunFolder, reader: Reader, version: Version | None, attempt: Attempt | None, base: Version | None,
    parent: Version | None,
) -> tuple[str, dict[str, str], dict[str, str] | None, str]:  # fmt: skip
    """The diff's text, the sources after and before it (None: not known), and what went wrong."""
    from engine.lineage import Lineage

    kept = reader.attempt_diff(attempt.attempt) if attempt else ""
    lineage = Lineage(folder.lineage)
    try:
        if version is None:
            return kept, {}, None, ""
        files = _texts(lineage.files(version.version))
        if base is None or base.version == version.version:
            return "", files, {}, ""
        before = _texts(lineage.files(base.version))
        text = lineage.diff(base.version, version.version)
    except AvoError as error:
        note = (
            "" if base is None or parent is None or base.version == parent.version else "; this is against the parent"
        )
        return kept, {}, None, f"{error}{note}"
    return text, files, before, ""


def coloured(r: Review) -> Review:
    """The same with syntax colours, which take half a second for a long source: of the files, or of the diff alone."""
    if r.before is None:
        return replace(r, colours=_colours_of_diff(r.diff_text))
    return replace(r, colours={**_colours("old", r.before), **_colours("new", r.files)})


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: data.decode("utf-8", "replace") for name, data in files.items()}


def _colours(side: str, files: Mapping[str, str]) -> dict[tuple[str, str, int], Sequence[Span]]:
    found: dict[tuple[str, str, int], Sequence[Span]] = {}
    for path, text in files.items():
        found.update(syntax.colours_of(side, path, text))
    return found


def _colours_of_diff(text: str) -> dict[tuple[str, str, int], Sequence[Span]]:
    """Colours from the diff alone: each side of it is read as one piece of source."""
    found: dict[tuple[str, str, int], Sequence[Span]] = {}
    lines = diff.parse(text)
    for side in ("old", "new"):
        numbered = [
            (x.path, x.old if side == "old" else x.new, x.text) for x in lines if x.kind in ("same", "add", "del")
        ]
        there = [(path, n, t) for path, n, t in numbered if n is not None]
        for path in {p for p, _, _ in there}:
            part = [(n, t) for p, n, t in there if p == path]
            for (n, _), spans in zip(part, syntax.highlight(path, "\n".join(t for _, t in part)), strict=False):
                found[side, path, n] = spans
    return found


def _profile(reader: Reader, attempt: Attempt | None, seq: int) -> str:
    if attempt is None:
        return ""
    for entry in reversed(reader.tail(60, before=seq + 60, kinds=("profile",))):
        event = entry.event()
        if isinstance(event, ev.Profiled) and event.source_hash == attempt.source_hash:
            return clean(event.text)
    return ""


def _log(folder: RunFolder, attempt: Attempt | None, score: Score | None) -> str:
    name = attempt.log if attempt else ""
    text = read_log(folder.artifacts, name) if name else ""
    return text or clean(score.log if score else "")


def _story(reader: Reader, version: Version | None, attempt: Attempt | None) -> tuple[Entry, ...]:
    """What led to it: a version's whole variation step, or what came after the attempt before this one."""
    if attempt is None:
        return ()
    if version is not None:
        # The call that submitted it ends just after the commit; and the one before's end belongs to that one.
        ended = reader.events(version.seq, kinds=("tool_finished",), limit=1)
        last = ended[0].seq if ended and ended[0].seq - version.seq < NEAR else version.seq
        before = reader.tail(1, before=version.seq, kinds=("version",))
        opened = reader.events(before[0].seq, kinds=("direction",), limit=1) if before else []
        first = opened[0].seq if opened and opened[0].seq < version.seq else before[0].seq + 1 if before else 1
    else:
        following = reader.events(attempt.seq, kinds=("attempt", "step"), limit=1)
        last = following[0].seq - 1 if following else attempt.seq + 20
        before = reader.tail(1, before=attempt.seq, kinds=("attempt",))
        first = before[0].seq + 1 if before else 1
    return tuple(e for e in reader.tail(STORY_LIMIT, before=last + 1) if e.seq >= first)


# Layout.


def header(r: Review, s: Snapshot, width: int) -> list[Line]:
    """Two lines: what it is and how well; where it comes from."""
    if r.attempt is None and r.version is None:
        return [((f" {r.trouble}", "bad"),), EMPTY]
    score = r.score
    unit = show.unit_for([score.geomean_tflops if score else None])
    name = one_line(r.version.name if r.version else r.attempt.name if r.attempt else "")
    figures: list[Line] = [_verdict(r)]
    if score and score.geomean_tflops:
        figures.append(((unit.full(score.geomean_tflops), "strong"),))
        if s.rival and (ratio := summary.ratio(score.geomean_tflops, s.baselines[s.rival].geomean_tflops)):
            mark, role = ("▲", "good") if ratio >= 1 else ("▼", "warn")
            figures.append(((f"{show.ratio(ratio)} {mark} ", role), (s.rival, "dim")))
    room = width - 2 - len(r.subject.name) - 2
    known = join_fitting(figures, ("  ", ""), max(room - 14, 10))
    named: Line = (
        (r.subject.name, "accent"),
        ("  ", ""),
        (clip_text(name, room - width_of(known) - 2), "head"),
        ("  ", ""),
    )
    origin = join_fitting(_origin(r, s), (" · ", "faint"), width - 2)
    return [((" ", ""), *named, *known), ((" ", ""), *origin)]


def _verdict(r: Review) -> Line:
    a = r.attempt
    verdict = r.version.verdict if r.version else a.verdict if a else None
    if verdict is None:
        text, role = outcome(a) if a else ("", "dim")
        return ((text, role),)
    mark, role = VERDICTS.get(verdict, ("·", "dim"))
    ratio, low, high = (
        (r.version.ratio, r.version.low, r.version.high)
        if r.version
        else (a.ratio, a.low, a.high)
        if a
        else (None,) * 3
    )
    text = f"{mark} {verdict}"
    if ratio:
        text += f" {show.ratio(ratio, 3)}"
    if low and high:
        text += f" [{low:.3f}, {high:.3f}]"
    return ((text, role),)


def _origin(r: Review, s: Snapshot) -> list[Line]:
    at = r.version.created_at if r.version else r.attempt.created_at if r.attempt else 0.0
    parts: list[Line] = []
    if r.version and not r.version.active:
        parts.append((("withdrawn", "warn"),))
    if r.version and r.version.version == s.head:
        parts.append((("best", "accent"),))
    if r.parent:
        parts.append((("from ", "dim"), (f"v{r.parent.version}", "")))
    if r.attempt:
        rounds = f", {show.count(r.attempt.rounds, 'round')}" if r.attempt.rounds else ""
        parts.append(((f"a{r.attempt.attempt}{rounds}", ""),))
    if r.version:
        parts.append((("commit ", "dim"), (r.version.commit[:10], "")))
    parts.append(((show.ago(s.taken_at - at), ""), (time.strftime(", %d %b %H:%M", time.localtime(at)), "dim")))
    if r.attempt and r.attempt.reason:
        parts.append(((one_line(r.attempt.reason), "dim"),))
    return parts


def bars(r: Review, s: Snapshot, view: View) -> list[Row]:
    """Each configuration with its error bar; where there is room, every baseline below it with its own."""
    if r.score is None or not r.score.configurations:
        reason = r.score.reason if r.score else r.trouble
        return [Row((("  no figures: ", "dim"), (one_line(reason), "bad")))]
    rivals = sorted(s.baselines.items(), key=lambda item: -(item[1].geomean_tflops or 0.0))
    everything = [c for score in (r.score, *(b for _, b in rivals)) for c in score.configurations]
    unit = show.unit_for([c.tflops for c in everything])
    top = max((c.tflops + 2 * (c.tflops_std or 0) for c in everything if c.tflops), default=1.0)
    names = max(len(name) for name in (*(c.name for c in r.score.configurations), *s.baselines)) + 4
    shape = (names, max(view.width - names - 31, 0), top)
    grouped = len(r.score.configurations) * (1 + len(rivals)) + 4 <= view.height
    head = f"{'':{names}}{unit.name:>8} {'±':>6} {'ratio':>8}  "
    rows = [Row(((f" {head}", "dim"), *_legend(r, s.rival if not grouped else None)))]
    for c in r.score.configurations:
        known = [(name, found) for name, b in rivals if (found := b.of(c.name)) is not None]
        marks = [(_of(r.parent, c.name), "╎", "info")]
        if known and not grouped:
            marks.append((known[0][1], "┃", "base"))
        rows.append(Row(_bar(c, known[0][1] if known else None, marks, unit, shape), c.name))
        if grouped:
            rows += [Row(_rival(name, b, c, unit, shape)) for name, b in known]
    return [*rows, Row(EMPTY), Row(_errors(r.score, view.width))]


def _of(version: Version | None, name: str) -> ConfigurationScore | None:
    return version.score.of(name) if version else None


def _legend(r: Review, rival: str | None) -> Line:
    parts: list[Span] = [("━", "plot"), (f" {r.subject.name} ", "dim"), ("─┿─", "strong"), (" ± 2 deviations ", "dim")]
    if rival:
        parts += [("┃", "base"), (f" {rival} ", "dim")]
    if r.parent:
        parts += [("╎", "info"), (f" v{r.parent.version}", "dim")]
    return tuple(parts)


_Marks = Sequence[tuple[ConfigurationScore | None, str, str]]


def _bar(
    c: ConfigurationScore, rival: ConfigurationScore | None, marks: _Marks, unit: show.Unit,
    shape: tuple[int, int, float],
) -> Line:  # fmt: skip
    names = shape[0]
    if c.tflops is None:
        return (
            (left(f" {c.name}", names + 1), ""),
            ("✗ " if not c.correct else "— ", "bad"),
            (one_line(c.reason), "dim"),
        )
    ratio = summary.ratio(c.tflops, rival.tflops if rival else None)
    role = "dim" if ratio is None else "good" if ratio >= 1 else "bad"
    mark = "" if ratio is None else " ▲" if ratio >= 1 else " ▼"
    figures = _figures(f" {c.name}", c, unit, names, "strong")
    return (*figures, (right((show.ratio(ratio) if ratio else "") + mark, 9), role), ("  ", ""),
            *_drawn(c, "plot", marks, shape))  # fmt: skip


def _rival(
    name: str, b: ConfigurationScore, c: ConfigurationScore, unit: show.Unit, shape: tuple[int, int, float]
) -> Line:
    ratio = summary.ratio(c.tflops, b.tflops)
    figures = _figures(f"   {name}", b, unit, shape[0], "base")
    return (*figures, (right(show.ratio(ratio) + "  " if ratio else "", 9), "dim"), ("  ", ""),
            *_drawn(b, "base", (), shape))  # fmt: skip


def _figures(name: str, c: ConfigurationScore, unit: show.Unit, names: int, role: str) -> Line:
    std = c.tflops_std or 0.0
    return (
        (left(name, names + 1), "" if role == "strong" else "dim"),
        (right(unit.text(c.tflops), 8), role),
        (right(f"{std / unit.scale:.{unit.decimals}f}" if std else "", 7), "dim"),
    )


def _drawn(c: ConfigurationScore, role: str, marks: _Marks, shape: tuple[int, int, float]) -> list[Span]:
    """A bar with its error bar, and marks for where others end; its own end is drawn last."""
    _, room, top = shape
    if c.tflops is None or not room:
        return []
    std, at = c.tflops_std or 0.0, _place(c.tflops, top, room)
    cells: list[Span] = [("━", role)] * at + [(" ", "")] * (room - at)
    for x in range(_place(c.tflops - 2 * std, top, room), min(_place(c.tflops + 2 * std, top, room), room)):
        cells[x] = ("─", "strong")
    for other, letter, colour in marks:
        if other and other.tflops:
            cells[min(_place(other.tflops, top, room), room - 1)] = (letter, colour)
    if at:
        cells[at - 1] = ("┿", "strong" if role == "plot" else role)
    return cells


def _place(value: float, top: float, room: int) -> int:
    return max(0, min(round(value / top * room), room))


def _errors(score: Score, width: int) -> Line:
    worst = max((c.relative_error for c in score.configurations if c.relative_error is not None), default=None)
    parts: list[Line] = [((f" {score.device}", "dim"),), ((f"{score.suite} suite", "dim"),)]
    if worst is not None:
        parts.append(((f"worst relative error {worst:.1e}", "dim"),))
    parts.append(((", ".join(show.phases(score.stage, score.build_seconds, score.seconds)), "dim"),))
    return fit(join_fitting(parts, (" · ", "faint"), width), width)


def integrity(r: Review, width: int) -> list[Row]:
    """Which checks stand behind the score."""
    if r.score is None:
        return [Row((("  nothing was scored", "dim"),))]
    i = r.score.integrity
    facts = [f"sandbox {i.tier}" if i.tier else "", f"{i.calls} calls" if i.calls else "",
             f"noise {i.noise * 100:.1f} %" if i.noise is not None else "",
             "" if i.quiet is None else "machine quiet" if i.quiet else "machine busy"]  # fmt: skip
    rows = [Row(((f" {' · '.join(f for f in facts if f)}", "dim"),))]
    if i.unsafe:
        rows.append(Row(((" ▲ scored without a sandbox", "warn"),)))
    for check in i.checks:
        mark: Span = ("✓", "good") if check.passed else ("✗", "bad")
        margin = "" if check.margin is None else f"{check.margin * 100:.0f} % of what is allowed"
        rows.append(
            Row(
                (
                    (" ", ""),
                    mark,
                    (f" {one_line(check.name)}  ", "" if check.passed else "bad"),
                    (one_line(check.detail) or margin, "dim"),
                )
            )
        )
    if not i.checks:
        rows.append(Row((("  no check was recorded", "dim"),)))
    if r.score.reason:
        rows += [Row(((f" {text}", "bad"),)) for text in wrap(clean(r.score.reason), width - 2)]
    return rows


def text_rows(text: str, empty: str) -> list[Row]:
    """Plain text, a row for each line."""
    if not text.strip():
        return [Row(((f"  {empty}", "dim"),))]
    return [Row(((f" {line}", ""),), ("line", i)) for i, line in enumerate(text.split("\n"))]


def source_rows(r: Review, left_by: int = 0, width: int = 10_000) -> list[Row]:
    """The sources with line numbers and colours."""
    rows: list[Row] = []
    for path, text in r.files.items():
        rows.append(Row((("─ ", "faint"), (path, "strong"), (" " + "─" * 20, "faint")), ("file", path)))
        for n, line in enumerate(clean(text).split("\n"), 1):
            spans = r.colours.get(("new", path, n)) or ((line, ""),)
            rows.append(Row(((f"{n:>4} ", "quiet"), *cut(tuple(spans), left_by, width - 5)), (path, n)))
    return rows or [Row((("  the lineage holds no sources for this one: it never became a version", "dim"),))]
