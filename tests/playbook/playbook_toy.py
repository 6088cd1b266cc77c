"""Runs of a toy problem with its own playbook: real engine processes, real git and SQLite, a scorer told what to say."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.record import commands, config
from engine.record.reader import Reader
from engine.record.run import RunFolder

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DEADLINE_S = 60.0

PROBLEM = """
name = "toy"
title = "A toy"
language = "cpp"
dtype = "float32"
tolerance = 1e-4
[build]
flags = ["-O2"]
allowed = []
[shape]
heads_q = 1
heads_kv = 1
head_dim = 16
[[configuration]]
name = "full"
batch = 1
seqlen = 16
causal = false
quick = true
[[configuration]]
name = "causal"
batch = 1
seqlen = 32
causal = true
"""
SEED = """// a toy
constexpr int kTile = 32;
// [block one]
// [end one]
// [block two]
// [end two]
// [block three]
// [end three]
"""


def direction(
    name: str, *, expects: float = 1.1, block: str = "one", text: str = "// gain: 1.5", more: str = ""
) -> str:
    """A direction's file: one block of attention.cpp becomes `text`."""
    return f'''
id = "{name}"
title = "Direction {name}"
kind = "algorithm"
hypothesis = "it helps"
expects = {expects}
knowledge = ["online-softmax"]
keywords = ["{name}"]
{more}
[[edits]]
op = "block"
file = "attention.cpp"
block = "{block}"
text = "{text}"
'''


class Toy:
    """One run of the toy problem."""

    def __init__(self, path: Path, book: dict[str, str], machine: dict[str, Any], **fields: Any) -> None:
        self.problem = path / "problem"
        playbook = self.problem / "playbook"
        playbook.mkdir(parents=True)
        (self.problem / "seed").mkdir()
        (self.problem / "seed" / "attention.cpp").write_text(SEED)
        (self.problem / "problem.toml").write_text(PROBLEM)
        (self.problem / "reference.py").write_text("")
        (self.problem / "machine.json").write_text(json.dumps({"machine.cores": 2, **machine}))
        for name, text in book.items():
            (playbook / name).write_text(text)
        self.folder = RunFolder(path / "run")
        for folder in (self.folder.path, self.folder.workspace, self.folder.artifacts):
            folder.mkdir(mode=0o700)
        settings = config.RunConfig(
            problem="toy",
            problem_path=str(self.problem),
            operator="playbook",
            scorer=fields.pop("scorer", config.ScorerConfig(command=(sys.executable, str(HERE / "play_scorer.py")))),
            **fields,
        )
        config.save(settings, self.folder.config)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """Start an engine."""
        with self.folder.engine_log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine", str(self.folder.path)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=ROOT,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def play(self) -> int:
        """Run an engine to its end; its exit code."""
        return self.start().wait(DEADLINE_S)

    def ask(self, question: Callable[[Reader], Any]) -> Any:
        """Ask the journal one thing; None while there is no journal."""
        if not self.folder.journal.is_file():
            return None
        with Reader(self.folder.journal) as reader:
            return question(reader)

    def until(self, question: Callable[[Reader], Any]) -> Any:
        """Poll the journal until the answer is true."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if answer := self.ask(question):
                return answer
            time.sleep(0.02)
        raise AssertionError(f"it did not come to pass in time; engine.log:\n{self.folder.engine_log.read_text()}")

    def send(self, verb: Any, **arguments: Any) -> int:
        """Send a command."""
        return commands.send(self.folder.journal, verb, arguments, person="ada")

    def states(self) -> dict[str, str]:
        """Each direction's latest state."""
        return {d.direction: d.state for d in self.ask(lambda r: r.directions())}

    def why(self, name: str) -> str:
        """What was last said of a direction."""
        return str(next(d.why for d in self.ask(lambda r: r.directions()) if d.direction == name))

    def committed(self) -> list[str]:
        """The directions of the versions, in their order."""
        return [v.direction for v in self.ask(lambda r: r.versions())]

    def kill(self) -> None:
        """End what still runs."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
