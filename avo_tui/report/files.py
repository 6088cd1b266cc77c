"""The report's files: the page, the figures as PNG, and the same facts as CSV and JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avo_tui.report import png
from avo_tui.report.bars import bars
from avo_tui.report.drawing import Drawing
from avo_tui.report.facts import Facts, attempt_columns, attempts_of, gather
from avo_tui.report.page import page
from avo_tui.report.trajectory import panels, trajectory
from avo_tui.summary import Summaries, Summary, ratio
from engine.record.costs import total_percent
from engine.record.errors import ConfigError

_COVER = (
    "Throughput over the attempts of the run: the best version as steps, every version and attempt as a mark, the "
    "baselines dashed, and the largest gains by their direction's name. Attempts that were scored on some "
    "configurations only are placed by their ratio to the version that they came from."
)
_BARS = (
    "The best version beside the baselines in every configuration: mean of the timed calls and their standard "
    "deviation. Above it, the ratio to the strongest baseline of that configuration."
)
_PANELS = "Geometric mean of each group of configurations, from version to version, with the baselines dashed."


def write(summaries: Summaries, directory: Path) -> list[Path]:
    """Write a run's report into a folder that is made when it is missing; the files, the page first."""
    facts = gather(summaries)
    drawn = {"trajectory": trajectory(facts), "configurations": bars(facts), "versions": panels(facts)}
    captions = dict(zip(drawn, (_COVER, _BARS, _PANELS), strict=True))
    pictured = [(drawing, captions[name]) for name, drawing in drawn.items()]
    text = page(facts, pictured, written_at=facts.summary.taken_at)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = [directory / "index.html", directory / "report.json"]
        written[0].write_text(text, "utf-8")
        written[1].write_text(json.dumps(to_json(facts), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
        written += [_csv(directory / name, rows) for name, rows in _tables(facts, summaries)]
        written += list(_pictures(drawn, directory)) if png.available() else []
    except OSError as error:
        raise ConfigError(f"cannot write the report to {directory}: {error.strerror}; name another folder") from error
    return written


def _pictures(drawn: dict[str, Drawing], directory: Path) -> Iterator[Path]:
    for name, drawing in drawn.items():
        png.write(drawing, directory / f"{name}.png")
        yield directory / f"{name}.png"


def to_json(facts: Facts) -> dict[str, Any]:
    """All that the report says, as one JSON value; throughputs in TFLOPS."""
    s = facts.summary
    return {
        **s.to_json(),
        "versions": [asdict(v) for v in s.versions],
        "baselines": {name: score.to_json() for name, score in s.baselines.items()},
        "against": {name: s.against(name) for name in s.baselines},
        "outcomes": dict(facts.outcomes),
        "stages": dict(facts.stages),
        "costs": [{**asdict(part), "usd_per_percent": part.usd_per_percent} for part in facts.costs],
        "gain_percent": total_percent(facts.costs),
        "directions": [asdict(d) for d in facts.directions],
        "interventions": [asdict(i) for i in facts.interventions],
        "alerts": [asdict(a) for a in facts.alerts],
    }


def _tables(facts: Facts, summaries: Summaries) -> Iterator[tuple[str, Iterable[Sequence[Any]]]]:
    yield "versions.csv", _versions(facts.summary)
    yield "configurations.csv", _configurations(facts.summary)
    attempts = ([asdict(a)[name] for name in attempt_columns()] for a in attempts_of(summaries.reader))
    yield "attempts.csv", _headed(attempt_columns(), attempts)


def _versions(s: Summary) -> Iterator[Sequence[Any]]:
    names = (
        "version",
        "commit",
        "parent",
        "active",
        "verdict",
        "geomean_tflops",
        "ratio",
        "low",
        "high",
        "attempt",
        "direction",
        "name",
    )
    yield [*names, "seconds", *(f"over_{b}" for b in s.baselines)]
    for v in s.versions:
        over = [ratio(v.geomean_tflops, b.geomean_tflops) for b in s.baselines.values()]
        yield [*(getattr(v, name) for name in names), round(v.created_at - s.created_at, 1), *over]


def _configurations(s: Summary) -> Iterator[Sequence[Any]]:
    """One line for each configuration of each version and baseline."""
    yield ["source", "configuration", "correct", "tflops", "tflops_std", "latency_us", "relative_error"]
    scores = [*((f"v{v.version}", v.score) for v in s.versions), *s.baselines.items()]
    for source, score in scores:
        for c in score.configurations:
            yield [source, c.name, c.correct, c.tflops, c.tflops_std, c.latency_us, c.relative_error]


def _headed(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    yield head
    yield from rows


def _csv(file: Path, rows: Iterable[Sequence[Any]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return file
