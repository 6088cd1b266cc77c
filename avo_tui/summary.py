"""The summary: where a run stands, as one frozen value built from its journal.

Nothing here draws, writes or waits. `avo status --json` is `Summary.to_json()`, and whoever wants
the score table or the trajectory of a run takes them from here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from avo_tui.life import Life
from engine.record.config import Limits, RunConfig, load
from engine.record.errors import ConfigError
from engine.record.events import StateChanged
from engine.record.frozen import dataclass
from engine.record.liveness import run_state, silent_s
from engine.record.reader import Alert, Engine, Reader, Spend, Version
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration of the score table: the seed, the incumbent, the last attempt and each baseline.

    `ratio` is the incumbent's throughput over the strongest baseline's (by geomean; the first one);
    `spread` the incumbent's standard deviation as a fraction of its mean; `history` the throughput of
    each active version, oldest first.
    """

    configuration: str
    seed: ConfigurationScore | None
    best: ConfigurationScore | None
    last: ConfigurationScore | None
    baselines: Mapping[str, ConfigurationScore]
    ratio: float | None
    spread: float | None
    history: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One version on the trajectory. `best` is the best geomean among active versions so far, in TFLOPS."""

    version: int
    at_s: float
    geomean: float | None
    best: float | None
    active: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Where a run stands at `taken_at` (seconds since the epoch). `reason` is why it came into its state."""

    run: str
    problem: str
    operator: str
    model: str
    state: str
    reason: str
    engine_alive: bool
    heartbeat_age_s: float | None
    pid: int | None
    activity: str
    created_at: float
    elapsed_s: float
    incumbent: Version | None
    versions: tuple[Version, ...]
    attempts: int
    baselines: Mapping[str, Score]
    last: Score | None
    alerts: tuple[Alert, ...]
    spend: Spend
    limits: Limits
    last_seq: int
    taken_at: float

    @property
    def seed(self) -> Version | None:
        """v0, once it was scored."""
        return next((v for v in self.versions if v.version == 0), None)

    @property
    def gain(self) -> float | None:
        """The incumbent's geomean over the seed's."""
        return ratio(_geomean(self.incumbent), _geomean(self.seed))

    def against(self, baseline: str) -> float | None:
        """The incumbent's geomean over a baseline's."""
        score = self.baselines.get(baseline)
        return ratio(_geomean(self.incumbent), score.geomean_tflops if score else None)

    @property
    def tier(self) -> str:
        """The sandbox that the incumbent was scored in (the last attempt, before there is one); "" is not known."""
        return next((s.integrity.tier for s in self._judged() if s.integrity.tier), "")

    @property
    def unsafe(self) -> bool:
        """Whether the incumbent or the last attempt was scored without a sandbox."""
        return any(s.integrity.unsafe for s in self._judged())

    def _judged(self) -> list[Score]:
        scores = (self.incumbent.score if self.incumbent else None, self.last)
        return [score for score in scores if score is not None]

    def rows(self) -> tuple[Row, ...]:
        """The score table, one row for each configuration."""
        seed = self.seed
        active = tuple(v.score for v in self.versions if v.active)
        vectors = [self.incumbent and self.incumbent.score, seed and seed.score, self.last, *self.baselines.values()]
        longest = max((v for v in vectors if v), key=lambda s: len(s.configurations), default=None)
        names = [c.name for c in longest.configurations] if longest else []
        return tuple(_row(name, self, active) for name in names)

    def trajectory(self) -> tuple[Point, ...]:
        """Every version in the order of its commit, with the running best of those still active."""
        best: float | None = None
        points = []
        for v in self.versions:
            if v.active and v.geomean_tflops is not None:
                best = max(best or 0.0, v.geomean_tflops)
            points.append(Point(v.version, v.created_at - self.created_at, v.geomean_tflops, best, v.active, v.verdict))
        return tuple(points)

    def to_json(self) -> dict[str, Any]:
        """The JSON of `avo status --json` (DESIGN section 6), extended by addition."""
        head = self.incumbent
        return {
            "run": self.run,
            "problem": self.problem,
            "operator": self.operator,
            "model": self.model,
            "state": self.state,
            "reason": self.reason,
            "engine_alive": self.engine_alive,
            "heartbeat_age_s": self.heartbeat_age_s,
            "pid": self.pid,
            "activity": self.activity,
            "incumbent": None
            if head is None
            else {"version": head.version, "commit": head.commit, "geomean_tflops": head.geomean_tflops},
            "versions": len(self.versions),
            "attempts": self.attempts,
            "alerts_open": len(self.alerts),
            "baselines": {name: score.geomean_tflops for name, score in self.baselines.items()},
            "gain_over_seed": self.gain,
            "sandbox": {"tier": self.tier, "unsafe": self.unsafe},
            "spend": {
                name: getattr(self.spend, name)
                for name in ("usd", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
            },
            "elapsed_s": self.elapsed_s,
            "limits": {f.name: getattr(self.limits, f.name) for f in fields(self.limits)},
            "created_at": self.created_at,
            "last_seq": self.last_seq,
        }


class Summaries:
    """One run's journal, opened once and summarised as often as needed. Not shared between threads."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._life = Life()
        self._open()

    def _open(self) -> None:
        self._file = identity(self.folder.journal)
        self.reader = Reader(self.folder.journal)
        self._config = _config(self.folder.config)
        self._versions: tuple[Version, ...] = ()
        self._versions_of: tuple[int, int | None] = (-1, None)
        self._known: dict[str, Any] = {}
        self._known_at = -1

    def close(self) -> None:
        """Close the journal."""
        self.reader.close()
        self._life.let_go()

    def there(self) -> bool:
        """Whether the journal still is the file that was opened: a folder may vanish, or come back from a copy."""
        return self._file is not None and identity(self.folder.journal) == self._file

    def reopen(self) -> None:
        """Open the journal that lies there now; what was open stays so until that is done."""
        before = self.reader
        self._open()
        before.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def take(self, now: float | None = None) -> Summary:
        """The run as it stands now. What only events change is read again only when there are new ones."""
        now = time.time() if now is None else now
        reader, engine = self.reader, self.reader.engine()
        alive = self._life.of(engine, now)
        config = self._config
        created = float(reader.meta("created_at") or now)
        return Summary(
            run=self.folder.name,
            problem=config.problem if config else "",
            operator=config.operator if config else "",
            model=config.model.name if config and config.operator == "agent" else "",
            state=engine.state if engine and alive else run_state(engine, now),
            engine_alive=alive,
            heartbeat_age_s=round(silent_s(engine, now), 3) if engine else None,
            pid=engine.pid if engine else None,
            activity=_activity(reader, engine) if alive else "",
            created_at=created,
            elapsed_s=_elapsed(reader, engine, created),
            taken_at=now,
            **self._facts(),
        )

    def _facts(self) -> dict[str, Any]:
        """What the events add up to: the fields of a Summary that stay as they are until the next event."""
        reader, seq = self.reader, self.reader.last_seq()
        if seq == self._known_at:
            return self._known
        count, attempts = reader.counts()
        head, newest = reader.head(), reader.attempts(limit=1)
        if (count, head) != self._versions_of:
            self._versions, self._versions_of = tuple(reader.versions()), (count, head)
        self._known_at, self._known = seq, {
            "versions": self._versions,
            "incumbent": next((v for v in self._versions if v.version == head), None),
            "attempts": attempts,
            "baselines": _strongest_first(reader.baselines()),
            "last": reader.attempt_score(newest[0].attempt) if newest else None,
            "alerts": tuple(reader.alerts(open_only=True)),
            "spend": reader.spend(),
            "limits": _limits(reader, self._config),
            "reason": _reason(reader),
            "last_seq": seq,
        }  # fmt: skip
        return self._known


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies at a path; None when none does."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def ratio(value: float | None, base: float | None) -> float | None:
    """`value / base`, or None when either is missing or the base is zero."""
    return value / base if value is not None and base else None


def _geomean(version: Version | None) -> float | None:
    return version.geomean_tflops if version else None


def _row(name: str, summary: Summary, active: Sequence[Score]) -> Row:
    seed, head = summary.seed, summary.incumbent
    best = head.score.of(name) if head else None
    baselines = {b: c for b, s in summary.baselines.items() if (c := s.of(name)) is not None}
    first = next(iter(baselines.values()), None)
    return Row(
        configuration=name,
        seed=seed.score.of(name) if seed else None,
        best=best,
        last=summary.last.of(name) if summary.last else None,
        baselines=baselines,
        ratio=ratio(best.tflops, first.tflops) if best and first else None,
        spread=ratio(best.tflops_std, best.tflops) if best else None,
        history=tuple(c.tflops if (c := s.of(name)) else None for s in active),
    )


def _strongest_first(baselines: Mapping[str, Score]) -> dict[str, Score]:
    return dict(sorted(baselines.items(), key=lambda item: -(item[1].geomean_tflops or 0.0)))


def _config(path: Path) -> RunConfig | None:
    """The run's configuration, or None when it cannot be read: a viewer shows the journal all the same."""
    try:
        return load(path)
    except ConfigError:
        return None


def _activity(reader: Reader, engine: Engine | None) -> str:
    _, text = reader.live().get("activity", (0.0, ""))
    return text or (engine.activity if engine else "")


def _reason(reader: Reader) -> str:
    last = reader.tail(1, kinds=("state",))
    fact = last[0].event() if last else None
    return fact.reason if isinstance(fact, StateChanged) else ""


def _elapsed(reader: Reader, engine: Engine | None, created: float) -> float:
    """Seconds the run was worked on: the engine's own count, else from the journal's start to the last beat."""
    if counted := reader.meta("elapsed_s"):
        return round(float(counted), 1)
    return round(max(0.0, engine.heartbeat_at - created), 1) if engine else 0.0


def _limits(reader: Reader, config: RunConfig | None) -> Limits:
    base = config.limits if config else Limits()
    changed = json.loads(reader.meta("limits") or "{}")
    known = {f.name: changed.get(f.name, getattr(base, f.name)) for f in fields(Limits)}
    return Limits(**known)
