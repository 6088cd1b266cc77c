"""Events: one frozen dataclass for each kind of fact. A fact is written once and never changed.

Each class names its `kind` (the journal's column) and gives `title()` and `body()`:
one line for a list, and the text that full-text search looks through.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, ClassVar, Literal

from engine.record.frozen import dataclass
from engine.record.scores import Score, throughput

Verdict = Literal["improved", "matched", "regressed", "incorrect"]
Source = Literal["agent", "playbook", "external", "supervisor", "person"]
RunState = Literal["running", "paused", "stopping", "finished", "crashed"]
Severity = Literal["info", "warning", "critical"]
Level = Literal["nudge", "review", "restore", "pause"]
BODY_LIMIT = 16_000  # characters of a body that full-text search looks through


@dataclass(frozen=True, slots=True)
class Event:
    """A fact about the run."""

    kind: ClassVar[str] = ""

    def title(self) -> str:
        """One line for a list."""
        return self.kind

    def body(self) -> str:
        """What full-text search looks through, beside the title."""
        return ""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """An engine took the run. `resumed` when the journal already held one."""

    kind: ClassVar[str] = "run_started"
    problem: str
    operator: str
    pid: int
    host: str
    model: str = ""
    resumed: bool = False
    note: str = ""

    def title(self) -> str:
        return f"{'resumed' if self.resumed else 'started'} {self.problem} with {self.operator} (pid {self.pid})"

    def body(self) -> str:
        return self.note


@dataclass(frozen=True, slots=True)
class StateChanged(Event):
    """The run moved between running, paused, stopping, finished and crashed."""

    kind: ClassVar[str] = "state"
    state: RunState
    reason: str = ""

    def title(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


@dataclass(frozen=True, slots=True)
class StepStarted(Event):
    """A variation step began: from the commit of `parent` to the next commit."""

    kind: ClassVar[str] = "step"
    step: int
    parent: int | None

    def title(self) -> str:
        return f"variation step {self.step}" + (f" from v{self.parent}" if self.parent is not None else "")


@dataclass(frozen=True, slots=True)
class Said(Event):
    """The operator's words. `reasoning` marks thinking, `turn` the operator's turn."""

    kind: ClassVar[str] = "said"
    text: str
    turn: int = 0
    reasoning: bool = False

    def title(self) -> str:
        return self.text.strip().splitlines()[0][:160] if self.text.strip() else ""

    def body(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ToolStarted(Event):
    """A tool was called. `arguments` is the call's JSON object."""

    kind: ClassVar[str] = "tool_started"
    call: str
    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    turn: int = 0

    def title(self) -> str:
        return f"{self.tool} {summary_of(self.arguments)}".rstrip()

    def body(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False)[:8000]


@dataclass(frozen=True, slots=True)
class ToolFinished(Event):
    """A tool answered. `text` is capped; the whole log is the file `log` under artifacts/."""

    kind: ClassVar[str] = "tool_finished"
    call: str
    tool: str
    ok: bool
    text: str
    seconds: float
    log: str = ""

    def title(self) -> str:
        first = self.text.strip().splitlines()[0][:160] if self.text.strip() else ""
        return f"{self.tool} {'ok' if self.ok else 'failed'} {self.seconds:.1f}s  {first}"

    def body(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class DirectionChanged(Event):
    """A direction was given, seen, begun or ended.

    `state`: offered, sent, seen, obeyed, declined, pursued, improved, matched, regressed, incorrect, skipped,
    vetoed, pinned, withdrawn. `directions` names offered ones that a supervisor's direction asks for.
    """

    kind: ClassVar[str] = "direction"
    direction: str
    name: str
    source: Source
    state: str
    why: str = ""
    turn: int = 0
    directions: tuple[str, ...] = ()

    def title(self) -> str:
        return f"{self.name} ({self.source}): {self.state}"

    def body(self) -> str:
        return self.why


@dataclass(frozen=True, slots=True)
class AttemptScored(Event):
    """A candidate was evaluated. Every one is kept, with its diff against its parent version."""

    kind: ClassVar[str] = "attempt"
    attempt: int
    step: int
    parent: int | None
    direction: str
    name: str
    source_hash: str
    score: Score
    diff: str = ""
    log: str = ""
    hypothesis: str = ""

    def title(self) -> str:
        figure = throughput(self.score.geomean_tflops) if self.score.geomean_tflops else self.score.stage
        return f"a{self.attempt} {self.name}: {figure}"

    def body(self) -> str:
        return f"{self.hypothesis}\n{self.score.reason}\n{self.diff}"


@dataclass(frozen=True, slots=True)
class GateDecided(Event):
    """The gate's verdict on a submitted attempt, with the ratio to the incumbent and its interval."""

    kind: ClassVar[str] = "gate"
    attempt: int
    verdict: Verdict
    reason: str
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    seconds: float = 0.0

    def title(self) -> str:
        ratio = f" {self.ratio:.3f}x" if self.ratio else ""
        return f"a{self.attempt} {self.verdict}{ratio}: {self.reason}"


@dataclass(frozen=True, slots=True)
class VersionCommitted(Event):
    """A version entered the lineage. Written after its git commit, in one transaction."""

    kind: ClassVar[str] = "version"
    version: int
    commit: str
    parent: int | None
    attempt: int
    verdict: Verdict
    direction: str
    name: str
    score: Score
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    def title(self) -> str:
        return f"v{self.version} {self.name}: {throughput(self.score.geomean_tflops)} ({self.verdict})"

    def body(self) -> str:
        return self.commit


@dataclass(frozen=True, slots=True)
class HeadMoved(Event):
    """The active head moved to an older or withdrawn version. Nothing is rewritten."""

    kind: ClassVar[str] = "head"
    before: int
    after: int
    cause: Literal["rollback", "undo", "restore"]
    command: int | None = None

    def title(self) -> str:
        return f"{self.cause}: head v{self.before} to v{self.after}"


@dataclass(frozen=True, slots=True)
class BaselineMeasured(Event):
    """A baseline's score vector on this machine."""

    kind: ClassVar[str] = "baseline"
    name: str
    score: Score

    def title(self) -> str:
        return f"baseline {self.name}: {throughput(self.score.geomean_tflops)}"


@dataclass(frozen=True, slots=True)
class Profiled(Event):
    """A profile was taken. `facts` are the figures an operator decides by; `text` is laid out for reading."""

    kind: ClassVar[str] = "profile"
    source_hash: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""

    def title(self) -> str:
        return f"profile of {self.source_hash[:10]}"

    def body(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class AlertRaised(Event):
    """Something needs attention. `evidence` says what was seen, in sentences."""

    kind: ClassVar[str] = "alert"
    alert: int
    severity: Severity
    what: str
    name: str
    evidence: str = ""

    def title(self) -> str:
        return f"{self.severity}: {self.name}"

    def body(self) -> str:
        return self.evidence


@dataclass(frozen=True, slots=True)
class AlertClosed(Event):
    """An alert was acknowledged by a person, or its cause went away."""

    kind: ClassVar[str] = "alert_closed"
    alert: int
    by: str
    reason: str = ""

    def title(self) -> str:
        return f"alert {self.alert} closed by {self.by}"


@dataclass(frozen=True, slots=True)
class Intervened(Event):
    """The supervisor stepped in: what it saw, what it concluded, where it steers."""

    kind: ClassVar[str] = "intervention"
    intervention: int
    level: Level
    saw: str
    diagnosis: str
    directions: tuple[str, ...] = ()

    def title(self) -> str:
        return f"supervisor {self.level}: {self.diagnosis[:120]}"

    def body(self) -> str:
        return "\n".join((self.saw, *self.directions))


@dataclass(frozen=True, slots=True)
class InterventionJudged(Event):
    """Whether an intervention helped, once that is known."""

    kind: ClassVar[str] = "intervention_judged"
    intervention: int
    helped: bool
    how: str

    def title(self) -> str:
        return f"intervention {self.intervention} {'helped' if self.helped else 'did not help'}: {self.how}"


@dataclass(frozen=True, slots=True)
class CommandChanged(Event):
    """A person's command was seen, applied or refused by the engine."""

    kind: ClassVar[str] = "command"
    command: int
    verb: str
    state: Literal["seen", "applied", "refused"]
    person: str
    reason: str = ""

    def title(self) -> str:
        return f"#{self.command} {self.verb} by {self.person}: {self.state}" + (
            f" ({self.reason})" if self.reason else ""
        )


@dataclass(frozen=True, slots=True)
class Spent(Event):
    """What one model call cost. Local work costs time only and is not listed here."""

    kind: ClassVar[str] = "spent"
    what: str
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    usd: float | None = None
    model: str = ""

    def title(self) -> str:
        prompt = self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
        cost = "" if self.usd is None else f", ${self.usd:.4f}"
        return f"{self.what}: {prompt:,} in ({self.cache_read_tokens:,} cached), {self.output_tokens:,} out{cost}"


@dataclass(frozen=True, slots=True)
class KnowledgeRead(Event):
    """The operator consulted the knowledge base."""

    kind: ClassVar[str] = "knowledge"
    page: str
    section: str = ""
    query: str = ""

    def title(self) -> str:
        if not self.page:
            return f"searched {self.query}"
        return f"read {self.page}" + (f" § {self.section}" if self.section else "")

    def body(self) -> str:
        return self.query


@dataclass(frozen=True, slots=True)
class PlanChanged(Event):
    """The operator's plan, whole. Each item: (id, text, pending|active|done|dropped)."""

    kind: ClassVar[str] = "plan"
    items: tuple[tuple[str, str, str], ...] = ()

    def body(self) -> str:
        return "\n".join(text for _, text, _ in self.items)


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """A note for later: the operator's memory that survives compaction and restarts."""

    kind: ClassVar[str] = "note"
    text: str

    def title(self) -> str:
        return self.text.strip().splitlines()[0][:160] if self.text.strip() else ""

    def body(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Waited(Event):
    """The engine waits, for a rate limit or a lost connection; `seconds` is the planned wait."""

    kind: ClassVar[str] = "waited"
    reason: str
    seconds: float

    def title(self) -> str:
        return f"waiting {self.seconds:.0f}s: {self.reason}"


@dataclass(frozen=True, slots=True)
class EpochBegan(Event):
    """The operator's conversation began anew: from a state card, and its own handoff when there was a usable one."""

    kind: ClassVar[str] = "epoch"
    epoch: int
    reason: str
    opening_tokens: int = 0
    handoff: bool = False

    def title(self) -> str:
        return f"conversation {self.epoch}: {self.reason or 'the first'}"


@dataclass(frozen=True, slots=True)
class Warned(Event):
    """The engine met something unusual and went on."""

    kind: ClassVar[str] = "warning"
    message: str

    def title(self) -> str:
        return self.message.splitlines()[0][:160]

    def body(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Raw(Event):
    """A fact of a kind that this version does not know, kept as it was written."""

    kind: ClassVar[str] = "raw"
    of: str
    data: Mapping[str, Any]

    def title(self) -> str:
        return f"{self.of}: damaged; 'avo verify' says more" if "damaged" in self.data else self.of


def kinds() -> Mapping[str, type[Event]]:
    """Every kind of event that can be written, by its name."""
    return _KINDS


def encode(event: Event) -> str:
    """The event's fields as JSON."""
    return json.dumps({f.name: _plain(getattr(event, f.name)) for f in fields(event)}, ensure_ascii=False)


def decode(kind: str, text: str) -> Event:
    """The inverse of `encode`. An unknown kind or shape becomes `Raw`, so that old viewers read new runs.

    So does what a damaged disk left of a fact: one of a million must not hide the others.
    """
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        return Raw(of=kind, data={"damaged": text[:200]})
    cls = kinds().get(kind)
    if cls is None:
        return Raw(of=kind, data=data)
    try:
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        if "score" in known:
            known["score"] = Score.from_json(known["score"])
        for name in ("items", "directions"):
            if name in known:
                known[name] = tuple(tuple(v) if isinstance(v, list) else v for v in known[name])
        return cls(**known)
    except (TypeError, KeyError, AttributeError):
        return Raw(of=kind, data=data)


def _plain(value: Any) -> Any:
    return value.to_json() if isinstance(value, Score) else value


def summary_of(arguments: Mapping[str, Any], limit: int = 120) -> str:
    """A tool call's arguments in one short line, the longest values clipped."""
    parts = [f"{k}={clip(str(v), 60)}" for k, v in arguments.items()]
    return clip(" ".join(parts), limit)


def clip(text: str, limit: int = 300) -> str:
    """A text in one line, at most so many characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


# A slotted dataclass leaves its unslotted twin among the subclasses, so the module's own names are asked instead.
_KINDS: dict[str, type[Event]] = {
    c.kind: c
    for c in list(globals().values())
    if isinstance(c, type) and issubclass(c, Event) and c not in (Event, Raw)
}
