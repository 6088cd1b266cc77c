"""A session with a real run folder, journal, lineage and knowledge, and a scorer that is told what to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from engine import knowledge
from engine.lineage import Lineage
from engine.record import events as ev
from engine.record.config import RunConfig, ScorerConfig
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score
from engine.session import Evaluation, Profile, Session, Submission, ToolResult
from engine.tools import registry, stop_jobs

NAMES = ("full_512", "causal_1024")


def score_of(*tflops: float, reason: str = "") -> Score:
    """A score over two configurations; a reason makes it a failed check."""
    entries = tuple(
        ConfigurationScore(n, not reason, v, 0.02 * v, 1000 / v, 1e-7) for n, v in zip(NAMES, tflops, strict=False)
    )
    stage = "check" if reason else "ok"
    mean = None if reason else (tflops[0] * tflops[1]) ** 0.5
    return Score("tiny", not reason, stage, reason, "test", 0.5, entries, mean)  # type: ignore[arg-type]


@dataclass
class ScriptedTrials:
    """Trials that answer what the test put here, and remember what they were asked."""

    score: Score = field(default_factory=lambda: score_of(2.0, 3.0))
    submission: Submission | None = None
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def evaluate(self, suite: str, configurations: Sequence[str] | None, hypothesis: str) -> Evaluation:
        self.asked.append(("evaluate", suite, configurations, hypothesis))
        return Evaluation(1, replace(self.score, suite=suite), "", earlier=())

    async def submit(self, message: str, hypothesis: str) -> Submission:
        self.asked.append(("submit", message, hypothesis))
        assert self.submission is not None
        return self.submission

    async def profile(self, configurations: Sequence[str] | None) -> Profile:
        self.asked.append(("profile", configurations))
        return Profile("f" * 40, "the hot loop is scalar", {"profile.vector_bits": 0})

    def restore(self, version: int) -> None:
        self.asked.append(("restore", version))


class Bench:
    """The session with short names for tests."""

    def __init__(self, session: Session, trials: ScriptedTrials) -> None:
        self.session, self.trials = session, trials
        self.workspace, self.folder, self.reader = session.workspace, session.folder, session.reader

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        """Use a tool as an operator does."""
        return await self.session.call(tool, arguments)

    def commit(self, files: Mapping[str, bytes], score: Score) -> int:
        """A version in git and in the journal."""
        lineage, number = self.session.lineage, self.session.lineage.next_version()
        parent = number - 1 if number else None
        sha = lineage.commit(files, version=number, parent=parent, score=score, message="step")
        self.session.record(
            ev.AttemptScored(
                number, 0, parent, "seed", f"try {number}", "f" * 40, score, "+int new;", "", "a hypothesis"
            ),
            ev.VersionCommitted(
                number, sha, parent, number, "improved", "seed", f"try {number}", score, 1.25, 1.2, 1.3
            ),
        )
        return number


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = RunFolder(tmp_path / "run")
    for path in (folder.workspace, folder.artifacts):
        path.mkdir(parents=True)
    tools, trials = registry(), ScriptedTrials()
    config = RunConfig("tiny", "/nowhere", scorer=ScorerConfig(unsafe_no_sandbox=False))
    with Journal.create(folder.journal, "run") as journal, Reader(folder.journal) as reader:
        session = Session(
            folder, config, None, journal, reader=reader, lineage=Lineage.create(folder.lineage),  # type: ignore[arg-type]
            inbox=None, tools=tools, knowledge=knowledge.open_for(folder),  # type: ignore[arg-type]
        )  # fmt: skip
        session.trials = trials
        yield Bench(session, trials)
        await stop_jobs(tools)
        session.knowledge.close()


@pytest.fixture
def processes() -> Iterator[Any]:
    """Counts living processes whose command line holds a word."""

    def count(word: str) -> int:
        found = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += word.encode() in path.read_bytes()
            except OSError:
                continue
        return found

    yield count
