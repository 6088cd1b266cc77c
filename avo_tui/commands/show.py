"""Reviewing: one version or attempt with its scores beside the baselines, its checks, its reasons and its diff."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace
from typing import Any

from avo_tui.commands.look import attempt_json, version_json
from avo_tui.commands.named import attempt_of, print_json, run_of, version_of
from avo_tui.tables import clean, moment, one_line, percent, rate, score_lines, table, times
from engine.record.errors import LineageError, UsageError
from engine.record.reader import Attempt, Reader, Version
from engine.record.run import RunFolder
from engine.record.scores import Integrity, Score


def show(arguments: Namespace) -> int:
    """`avo show RUN vN|aN`: everything that is known of a version or an attempt."""
    folder = run_of(arguments)
    name = arguments.what
    with Reader(folder.journal) as reader:
        if name[:1] in "aA":
            _show_attempt(reader, folder, attempt_of(reader, folder, name), arguments)
        else:
            _show_version(reader, folder, version_of(reader, folder, name), arguments)
    return 0


def _show_version(reader: Reader, folder: RunFolder, v: Version, arguments: Namespace) -> None:
    attempt = reader.attempt(v.attempt)
    score = _beside(v.score, reader)
    if arguments.json:
        extra: dict[str, Any] = {"attempt_record": attempt_json(attempt) if attempt else None}
        if arguments.diff:
            extra["diff"] = _diff_of(folder, v)
        print_json({**version_json(v), **_score_json(score), **extra})
        return
    state = "incumbent" if reader.head() == v.version else "active" if v.active else "withdrawn"
    print(f"v{v.version}  {v.commit}  {state}  {moment(v.created_at)}")
    print(f"parent     {'none: the seed' if v.parent is None else f'v{v.parent}'}")
    print(f"verdict    {v.verdict}{_interval(v.ratio, v.low, v.high)}")
    _print_reasons(v.name or v.direction, attempt)
    _print_score(score)
    if arguments.diff:
        print("\n" + clean(_diff_of(folder, v)))


def _show_attempt(reader: Reader, folder: RunFolder, a: Attempt, arguments: Namespace) -> None:
    found = reader.attempt_score(a.attempt)
    score = _beside(found, reader) if found else None
    if arguments.json:
        extra = {"diff": reader.attempt_diff(a.attempt)} if arguments.diff else {}
        print_json({**attempt_json(a), **(_score_json(score) if score else {}), **extra})
        return
    kept = f"kept as v{a.version}" if a.version is not None else "not kept"
    print(f"a{a.attempt}  {a.source_hash[:12]}  {kept}  {moment(a.created_at)}  {a.seconds:.1f} s")
    print(f"parent     {'none' if a.parent is None else f'v{a.parent}'}")
    print(f"verdict    {a.verdict or 'never submitted'}{_interval(a.ratio, a.low, a.high)}")
    if a.reason:
        print(f"reason     {one_line(a.reason)}")
    _print_reasons(a.name or a.direction, a)
    if score:
        _print_score(score)
    if a.log:
        print(f"log        {folder.log(a.log) or f'{a.log} (not there any more)'}")
    if arguments.diff:
        print("\n" + clean(reader.attempt_diff(a.attempt)))


def _beside(score: Score, reader: Reader) -> Score:
    """The score with the run's baselines beside it, unless it brought its own."""
    if score.baselines:
        return score
    return replace(score, baselines={name: s.configurations for name, s in reader.baselines().items()})


def _score_json(score: Score) -> dict[str, Any]:
    return {
        "correct": score.correct,
        "stage": score.stage,
        "reason": score.reason,
        "device": score.device,
        "source_hash": score.source_hash,
        "configurations": [asdict(c) for c in score.configurations],
        "baselines": {name: [asdict(c) for c in values] for name, values in score.baselines.items()},
        "integrity": asdict(score.integrity),
    }


def _interval(ratio: float | None, low: float | None, high: float | None) -> str:
    if ratio is None:
        return ""
    return f"  {times(ratio)}" + (f" ({low:.3f}..{high:.3f})" if low is not None and high is not None else "")


def _print_reasons(direction: str, attempt: Attempt | None) -> None:
    print(f"direction  {one_line(direction) or '-'}")
    if attempt and attempt.hypothesis:
        print(f"hypothesis {one_line(attempt.hypothesis)}")


def _print_score(score: Score) -> None:
    stage = "correct" if score.correct else f"{score.stage}: {one_line(score.reason)}"
    print(f"score      {stage}  {rate(score.geomean_tflops)} geomean  on {score.device or '-'}\n")
    if score.configurations:
        print(score_lines(score))
    print(integrity_text(score.integrity))


def integrity_text(integrity: Integrity) -> str:
    """The checks that stand behind a score, with their margins."""
    if not integrity.checks and not integrity.tier:
        return "\nintegrity  no report"
    quiet = {True: "quiet", False: "noisy", None: ""}[integrity.quiet]
    unsafe = "  UNSAFE: no sandbox" if integrity.unsafe else ""
    noise = f"  noise {percent(integrity.noise)}" if integrity.noise is not None else ""
    counted = f"sandbox {integrity.tier or '-'}  {integrity.calls} calls checked"
    first = f"\nintegrity  {counted}{noise}  {quiet}{unsafe}".rstrip()
    rows = [[c.name, "passed" if c.passed else "FAILED", percent(c.margin), c.detail] for c in integrity.checks]
    return first + ("\n" + table(["check", "result", "of limit", "detail"], rows) if rows else "")


def diff(arguments: Namespace) -> int:
    """`avo diff RUN vA vB`: the unified diff of the sources; one version alone against its parent."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        a = version_of(reader, folder, arguments.a)
        b = version_of(reader, folder, arguments.b) if arguments.b else None
        if b is None:
            if a.parent is None:
                raise UsageError(f"v{a.version} has no parent; name the version to compare it with")
            a, b = version_of(reader, folder, f"v{a.parent}"), a
    text = _between(folder, a.version, b.version)
    if arguments.json:
        print_json({"run": folder.name, "from": a.version, "to": b.version, "diff": text})
    else:
        print(clean(text), end="" if text.endswith("\n") or not text else "\n")
    return 0


def _diff_of(folder: RunFolder, v: Version) -> str:
    return "" if v.parent is None else _between(folder, v.parent, v.version)


def _between(folder: RunFolder, before: int, after: int) -> str:
    from engine.lineage import Lineage

    if not folder.lineage.is_dir():
        raise LineageError(f"{folder.lineage} is missing; the versions' sources lay there")
    return Lineage(folder.lineage).diff(before, after)
