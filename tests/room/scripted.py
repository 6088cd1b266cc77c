"""A scripted run: a whole evolution written as an engine would write it, at fixed times.

For tests and pictures. `write(folder)` makes a finished story up to any point; `python -m
tests.room.scripted FOLDER` plays an engine that lives: it beats, streams and answers commands.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.lineage import Lineage
from engine.record import config as cf
from engine.record import events as ev
from engine.record.commands import from_row
from engine.record.journal import Journal
from engine.record.liveness import identity
from engine.record.run import RunFolder
from engine.record.scores import Check, ConfigurationScore, Integrity, Score, geomean

START = 1_760_000_000.0
NAMES = tuple(f"{mask}_{n}" for n in (256, 512, 1024, 2048) for mask in ("full", "causal"))
SEED_TFLOPS = (0.00210, 0.00198, 0.00206, 0.00190, 0.00201, 0.00187, 0.00195, 0.00183)
SDPA_TFLOPS = (0.0712, 0.0388, 0.0893, 0.0507, 0.1011, 0.0588, 0.1074, 0.0634)

# name, what it is worth, kind of end: improved, matched, regressed, incorrect, build, crash, timeout
STORY: tuple[tuple[str, float, str], ...] = (
    ("hoist the scale out of the inner loop", 1.18, "improved"),
    ("one pass over the keys with an online softmax", 2.35, "improved"),
    ("vectorise the dot product with OpenMP SIMD", 0.0, "build"),
    ("tile the keys to stay in L1", 2.91, "improved"),
    ("skip the key tiles above the diagonal", 1.22, "improved"),
    ("transpose K once per head", 0.93, "regressed"),
    ("threads over heads and query tiles", 1.87, "improved"),
    ("exp by a degree-3 polynomial", 0.0, "incorrect"),
    ("exp by a degree-5 polynomial", 1.31, "improved"),
    ("register block 4 × 16", 1.44, "improved"),
    ("register block 8 × 16: spills", 0.81, "regressed"),
    ("register block 6 × 16", 1.09, "improved"),
    ("prefetch the next key tile", 0.998, "matched"),
    ("dynamic schedule for causal tiles", 1.06, "improved"),
    ("huge pages for the packed keys", 0.0, "crash"),
    ("pack K in panels of 16", 1.052, "improved"),
    ("AVX-512 intrinsics in the softmax row", 1.034, "improved"),
    ("busy-wait barrier between heads", 0.0, "timeout"),
    ("fuse the output rescale", 1.011, "improved"),
    ("query tile of 96", 0.987, "regressed"),
    ("fast-math for the whole file", 0.0, "incorrect"),
    ("key tile of 192", 1.004, "matched"),
)

SEED_SOURCE = """\
// Causal attention forward, one query row at a time. Correct, and slow on purpose.
#include <cmath>
#include <vector>

constexpr int kTileQ = 1;

extern "C" void attention_forward(const float* q, const float* k, const float* v, float* o, int batch,
                                  int heads_q, int heads_kv, int seqlen, int head_dim, int causal, float scale) {
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads_q; ++h)
      for (int i = 0; i < seqlen; ++i) {
        std::vector<float> s(seqlen);
        // [block scores]
        float top = -INFINITY;
        const int last = causal ? i + 1 : seqlen;
        for (int j = 0; j < last; ++j) {
          float dot = 0.f;
          for (int d = 0; d < head_dim; ++d) dot += q[d] * k[d];
          s[j] = dot * scale;
          top = std::fmax(top, s[j]);
        }
        // [end scores]
        float sum = 0.f;
        for (int j = 0; j < last; ++j) sum += s[j] = std::exp(s[j] - top);
        for (int d = 0; d < head_dim; ++d) {
          float acc = 0.f;
          for (int j = 0; j < last; ++j) acc += s[j] * v[d];
          o[d] = acc / sum;
        }
      }
}
"""


@dataclass
class Tape:
    """What the story writes: facts with the moment they happened."""

    journal: Journal
    lineage: Lineage
    artifacts: Path
    random: random.Random
    at: float = START
    turn: int = 0
    call: int = 0
    attempt: int = 0
    head: int | None = None
    version: int = -1
    geomean: float = 0.0
    best: float = 0.0
    source: str = SEED_SOURCE
    head_source: str = SEED_SOURCE
    alerts: int = 0
    interventions: int = 0
    scores: dict[int, Score] = field(default_factory=dict)

    def put(self, *facts: ev.Event, after: float = 0.5) -> None:
        """Write facts `after` seconds later."""
        self.at += after
        self.journal.append(*facts, at=self.at)

    def tool(self, tool: str, arguments: dict[str, object], text: str, seconds: float, *, ok: bool = True) -> None:
        """A whole tool call."""
        self.call += 1
        name = f"c{self.call}"
        self.put(ev.ToolStarted(name, tool, arguments, self.turn))
        self.put(ev.ToolFinished(name, tool, ok, text, seconds), after=seconds)


def write(
    path: Path, *, until: int = len(STORY) * 3, state: str = "running", minutes: float | None = 60.0
) -> RunFolder:
    """Write a run of at most `until` attempts into `path`; its engine is this process, its times are fixed."""
    folder = _folder(path, minutes)
    with Journal.create(folder.journal, folder.name) as journal:
        tape = Tape(journal, Lineage.create(folder.lineage), folder.artifacts, random.Random(7))
        for _ in story(tape):
            if tape.attempt >= until:
                break
        close(tape, state)
        at = tape.at
    freeze(folder, at)
    return folder


def freeze(folder: RunFolder, at: float, beat_age_s: float = 0.4) -> None:
    """Put the heartbeat, the live slots and the run's own start at fixed times."""
    with sqlite3.connect(folder.journal, isolation_level=None) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'created_at'", (repr(START),))
        db.execute("UPDATE engine SET heartbeat_at = ?", (at - beat_age_s,))
        db.execute("UPDATE live SET at = ?", (at,))
    db.close()


def end_of(folder: RunFolder) -> float:
    """The moment of the newest event."""
    with sqlite3.connect(folder.journal) as db:
        at = float(db.execute("SELECT max(at) FROM events").fetchone()[0])
    db.close()
    return at


def _folder(path: Path, minutes: float | None) -> RunFolder:
    folder = RunFolder(path)
    for part in (folder.path, folder.lineage, folder.workspace, folder.artifacts):
        part.mkdir(parents=True, exist_ok=True)
    limits = cf.Limits(minutes=minutes, usd=5.0)
    cf.save(cf.RunConfig(problem="mha_cpu", problem_path="kernels/mha_cpu", limits=limits), folder.config)
    return folder


def close(tape: Tape, state: str) -> None:
    """The engine's last beat and what it is doing."""
    me = identity()
    tape.put(ev.StateChanged(state, "" if state == "running" else "asked by ada"))  # type: ignore[arg-type]
    activity = {"running": f"a{tape.attempt + 1}: timing causal_1024 (5/8)", "paused": "paused at a boundary"}
    tape.journal.beat(pid=me.pid, started=me.started, boot=me.boot, host=me.host, state=state,
                      activity=activity.get(state, state))  # fmt: skip
    if state == "running":
        tape.journal.live("activity", activity["running"])
        tape.journal.live("stream", "The causal rows still wait for the last tile; next I would")
        tape.journal.live("output", "g++ -O3 -march=native -fopenmp -shared candidate.cpp\n[build] ok in 1.9 s\n"
                                    "[check] 8/8 configurations, worst error 4.1e-07\n[time] full_256 0.131 TFLOPS")  # fmt: skip


def story(tape: Tape) -> Iterator[None]:
    """The run, one attempt after the other."""
    tape.put(ev.RunStarted("mha_cpu", "playbook", os.getpid(), "ketil"), ev.StateChanged("running"), after=0.2)
    tape.put(ev.BaselineMeasured("torch_sdpa", _score(SDPA_TFLOPS, tape.random, 1.0)), after=4.0)
    yield from _try(tape, "the seed: correct, one row at a time", 1.0, "improved", 0)
    lap = 0
    while True:
        for i, told in enumerate(STORY):
            yield from _try(tape, *(_again(told, i, lap) if lap else told), i + 1)
            _around(tape)
        lap += 1


def _again(told: tuple[str, float, str], i: int, lap: int) -> tuple[str, float, str]:
    """A later lap through the story: little is gained any more."""
    name, worth, end = told
    name = f"{name}, again with {'larger' if lap == 1 else 'smaller'} tiles"
    if end != "improved":
        return name, worth, end
    return (name, min(worth, 1.0) * 0.99, "regressed") if i % 5 else (name, 1.0 + (worth - 1.0) * 0.03, end)


def _try(tape: Tape, name: str, worth: float, end: str, nth: int) -> Iterator[None]:
    direction = "seed" if nth == 0 else hashlib.sha1(name.encode()).hexdigest()[:8]
    tape.turn += 1
    rnd = tape.random
    parent = tape.head
    if nth:
        tape.put(ev.StepStarted(tape.turn, parent)) if tape.turn % 3 == 0 else None
        tape.put(ev.DirectionChanged(direction, name, "playbook", "pursued", "the profile shows where the time goes"))
        tape.put(ev.Said(_thoughts(name), tape.turn, reasoning=True))
        tape.tool("knowledge_read", {"page": "online-softmax"}, "claim: one pass suffices …\nevidence: …", 0.0)
        tape.put(ev.KnowledgeRead(("online-softmax", "tiling", "vector-units", "exp")[nth % 4]))
        tape.put(ev.Said(f"{name[0].upper()}{name[1:]}. I expect {worth or 1.2:.2f}x: the loop waits for loads, not for "
                         "arithmetic, so fewer trips over the keys should show at 1024 and 2048 first.", tape.turn))  # fmt: skip
        tape.source = _edit(tape.head_source, name, nth)
        tape.tool("edit", {"path": "attention.cpp", "find": "// [block scores]", "replace": name}, "1 replacement", 0.0)
    tape.attempt += 1
    seconds = 6 + 20 * rnd.random()
    score = _outcome(tape, worth, end)
    diff = _diff(tape.head_source, tape.source)
    log = f"a{tape.attempt}.log"
    (tape.artifacts / log).write_text(_log(score), "utf-8")
    text = score.reason if not score.correct else f"{score.geomean_tflops:.4f} TFLOPS over 8 configurations"
    tape.tool("evaluate", {"suite": "full"}, text, seconds, ok=score.correct)
    sha = hashlib.sha256(tape.source.encode()).hexdigest()
    tape.put(ev.AttemptScored(tape.attempt, tape.turn, parent, direction, name, sha, score, diff, log,
                              f"{name}: fewer loads for each multiply-add"))  # fmt: skip
    if score.correct:
        tape.put(ev.Profiled(sha, _profile(rnd), {"profile.vector_bits": 512, "profile.fma_share": 0.61}))
        _decide(tape, name, direction, worth, end, score)
    else:
        tape.put(ev.DirectionChanged(direction, name, "playbook", "incorrect", score.reason))
    yield


def _decide(tape: Tape, name: str, direction: str, worth: float, end: str, score: Score) -> None:
    ratio = worth if tape.head is not None else None
    low, high = (ratio * 0.991, ratio * 1.009) if ratio else (None, None)
    reason = {"improved": "faster in every round", "matched": "within the noise", "regressed": "slower"}[end]
    tape.put(ev.GateDecided(tape.attempt, end, reason, ratio, low, high, 6, 14.2), after=9.0)  # type: ignore[arg-type]
    if end in ("improved", "matched"):
        parent, tape.version = tape.head, tape.version + 1
        commit = _commit(tape, name, score)
        tape.head_source, tape.head = tape.source, tape.version
        tape.scores[tape.version] = score
        tape.put(ev.VersionCommitted(tape.version, commit, parent, tape.attempt, end, direction, name, score,  # type: ignore[arg-type]
                                     ratio, low, high))  # fmt: skip
        if end == "improved":
            tape.best = score.geomean_tflops or 0.0
    if direction != "seed":
        tape.put(ev.DirectionChanged(direction, name, "playbook", end, reason))


def _around(tape: Tape) -> None:
    """What happens between attempts: people, alerts, the supervisor."""
    n = tape.attempt
    if n == 9:
        _command(
            tape, "direct", {"text": "Try a degree-5 polynomial for exp; the libm call dominates the causal rows."}
        )
        tape.put(ev.DirectionChanged("d-ada", "exp by polynomial", "person", "obeyed", "it is next", tape.turn))
    if n == 14:
        tape.put(ev.PlanChanged((("1", "register blocking", "done"), ("2", "pack the keys", "active"),
                                 ("3", "AVX-512 in the softmax row", "pending"), ("4", "huge pages", "dropped"))))  # fmt: skip
        tape.put(ev.Noted("6 × 16 is the largest block without spills on this machine (32 zmm registers)."))
    if n == 17 and tape.head is not None:
        before = tape.head
        _command(tape, "rollback", {"version": before - 1}, reason=f"head v{before} to v{before - 1}")
        tape.put(ev.HeadMoved(before, before - 1, "rollback"))
        tape.head = before - 1
    if n == 23:
        tape.alerts += 1
        tape.put(
            ev.AlertRaised(tape.alerts, "warning", "failures", "5 failures in a row", "a19 to a23 failed: build, check")
        )
        tape.interventions += 1
        tape.put(ev.Intervened(tape.interventions, "review", "12 attempts without a gain since v13 (24 minutes).",
                               "The tile sizes were searched one at a time; the loop order was never questioned.",
                               ("swap the query and key loops", "two heads per thread", "pack V as well")))  # fmt: skip
        _command(tape, "pause", {})
        _command(tape, "rollback", {"version": 99}, state="refused", reason="there is no version v99")
    if n == 27 and tape.alerts:
        tape.put(ev.AlertClosed(tape.alerts, "ada", "seen"))
        tape.put(ev.InterventionJudged(tape.interventions, True, "v14 improved 1.052x two attempts later"))
    if n == 40:
        tape.alerts += 1
        tape.put(ev.AlertRaised(tape.alerts, "critical", "stall", "no gain in 16 attempts",
                                "v14 stands since 31 minutes; 16 attempts since: 9 regressed, 4 matched, 3 incorrect"))  # fmt: skip
        tape.put(ev.Spent("supervisor review", 18_400, 950, 12_000, 0, 0.42, "claude"))
        tape.interventions += 1
        tape.put(ev.Intervened(tape.interventions, "review", "16 attempts without a gain since v14 (31 minutes).",
                               "Every direction since v11 varies tile sizes. The causal rows are the slow ones.",
                               ("balance causal tiles over threads", "split long rows")))  # fmt: skip
    if n == 50:
        tape.alerts += 1
        tape.put(ev.AlertRaised(tape.alerts, "info", "cycle", "the same sources were scored before", "a49 equals a31"))


def _command(tape: Tape, verb: str, arguments: dict[str, object], state: str = "applied", reason: str = "") -> None:
    db = sqlite3.connect(tape.journal.path, isolation_level=None)
    row = (tape.at, "ada", "ketil:4121", verb, json.dumps(arguments), 0, "sent", tape.at, "")
    number = db.execute(
        "INSERT INTO commands (at, person, client, verb, arguments, issued_seq, state, state_at, reason) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row).lastrowid  # fmt: skip
    db.close()
    assert number is not None
    tape.put(ev.CommandChanged(number, verb, "seen", "ada"), after=0.3)
    tape.put(ev.CommandChanged(number, verb, state, "ada", reason), after=2.1)  # type: ignore[arg-type]


def _outcome(tape: Tape, worth: float, end: str) -> Score:
    base = tape.scores[tape.head].configurations if tape.head is not None else None
    values = [c.tflops or 0.0 for c in base] if base else list(SEED_TFLOPS)
    if end in ("improved", "matched", "regressed"):
        return _score(values, tape.random, worth if base else 1.0)
    reasons = {
        "build": "attention.cpp:21:7: error: 'simd' is not a member of 'omp'",
        "incorrect": "causal_1024: relative error 3.2e-02 in head 3, allowed 1.0e-05",
        "crash": "full_2048: the candidate died of SIGSEGV in call 2",
        "timeout": "full_256: no answer in 60 s",
    }
    stage = {"incorrect": "check"}.get(end, end)
    wrong = 4 if stage == "check" else 0
    configurations = tuple(
        ConfigurationScore(n, i != wrong, reason=reasons[end] if i == wrong else "", relative_error=None)
        for i, n in enumerate(NAMES)
    ) if stage != "build" else ()  # fmt: skip
    return Score("mha_cpu", False, stage, reasons[end], "Xeon 2 cores", 3.2, configurations)  # type: ignore[arg-type]


def _score(values: tuple[float, ...] | list[float], rnd: random.Random, worth: float) -> Score:
    figures = [v * worth * math.exp(rnd.gauss(0, 0.012)) for v in values]
    configurations = tuple(
        ConfigurationScore(n, True, f, f * (0.004 + 0.014 * rnd.random()), 0.5 / f, 10 ** -(6 + rnd.random()))
        for n, f in zip(NAMES, figures, strict=True)
    )
    checks = (
        Check("reference", True, 0.04, "worst relative error 4.1e-07 of 1.0e-05"),
        Check("fresh seeds", True, None, "3 hidden seeds per configuration"),
        Check("inputs untouched", True, None, "q, k and v compared after every call"),
        Check("same answer twice", True, 0.0, "bitwise"),
        Check("no sleeping threads", True, 0.12, "12 % of what is allowed"),
    )
    integrity = Integrity("bwrap+seccomp", checks, 96, 0.006, True)
    return Score("mha_cpu", True, "ok", "", "Xeon 2 cores", 14.0, configurations, geomean(figures),
                 integrity=integrity, build_seconds=1.9, candidate_seconds=9.7)  # fmt: skip


def _edit(source: str, name: str, nth: int) -> str:
    lines = source.splitlines(keepends=True)
    cut = next(i for i, line in enumerate(lines) if "[end scores]" in line)
    lines.insert(cut, f"        // {name}\n        #pragma omp simd reduction(+ : dot)  // {nth}\n")
    return (
        "".join(lines).replace(f"kTileQ = {max(nth - 1, 1)};", f"kTileQ = {nth};").replace("kTileQ = 1;", "kTileQ = 8;")
    )


def _diff(before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "a/attention.cpp", "b/attention.cpp"
    )
    return "".join(lines)


def _commit(tape: Tape, name: str, score: Score) -> str:
    """Through the real lineage; git's own dates are today's, so commit ids differ from run to run."""
    files = {"attention.cpp": tape.source.encode()}
    return tape.lineage.commit(files, version=tape.version, parent=tape.head, score=score, message=name)


def _log(score: Score) -> str:
    head = "$ g++ -std=c++20 -O3 -march=native -fopenmp -shared -fPIC attention.cpp -o candidate.so\n"
    if score.stage == "build":
        return f"{head}attention.cpp: In function 'void attention_forward(...)':\n{score.reason}\n   21 |   omp::simd(dot)\n      |        ^~~~\n"
    return f"{head}built in 1.9 s\n{score.reason}\n"


def _profile(rnd: random.Random) -> str:
    share = 0.3 + 0.4 * rnd.random()
    return (
        f"hot loop     scores, {share:.0%} of the time\n"
        f"vector width 512 bit, {0.5 + 0.3 * rnd.random():.0%} of the arithmetic is FMA\n"
        f"roofline     {rnd.random() * 0.5:.0%} of 214 GFLOPS (2 cores)\n"
        "spills       none in the hot loop\n"
    )


def _thoughts(name: str) -> str:
    return (
        f"The incumbent spends most of its time in the score loop. What would {name} change?\n"
        "The loads of K dominate: 64 floats a row, read once for every query row.\n"
        "A tile of queries would reuse each row, and the registers would hold the sums.\n"
        "The risk is spills; the profile will tell. If it does not pay, the next direction is packing.\n"
    )


def main(path: str) -> None:
    """Live as an engine: beat, stream, answer commands, and try something every few seconds."""
    folder = _folder(Path(path), 60.0)
    with Journal.create(folder.journal, folder.name) as journal:
        tape = Tape(journal, Lineage.create(folder.lineage), folder.artifacts, random.Random(7), at=time.time() - 1500)
        told = story(tape)
        for _ in told:
            if tape.attempt >= 42:
                break
        journal.append(ev.StateChanged("running"))
        db = sqlite3.connect(folder.journal, isolation_level=None)
        db.execute("UPDATE meta SET value = ? WHERE key = 'created_at'", (repr(time.time() - 1500),))
        db.close()
        _live(tape, told)


def _live(tape: Tape, told: Iterator[None]) -> None:
    me, state, words = identity(), "running", _thoughts("the next thing").split()
    said = 0
    while state != "finished":
        tape.at = time.time()
        state = _obey(tape, state)
        tape.journal.beat(pid=me.pid, started=me.started, boot=me.boot, host=me.host, state=state, activity=state)
        if state == "running":
            said = (said + 6) % len(words)
            tape.journal.live("stream", " ".join(words[:said]))
            tape.journal.live("activity", f"a{tape.attempt + 1}: timing {NAMES[said % 8]} ({said % 8 + 1}/8)")
            if said < 6:
                next(told)
        print("beat", flush=True)
        time.sleep(0.5)


def _obey(tape: Tape, state: str) -> str:
    db = sqlite3.connect(tape.journal.path, isolation_level=None)
    rows = [from_row(r) for r in db.execute("SELECT * FROM commands WHERE state = 'sent' ORDER BY command")]
    db.close()
    for c in rows:
        tape.journal.append(ev.CommandChanged(c.command, c.verb, "seen", c.person))
        facts: list[ev.Event] = []
        end, reason = "applied", ""
        if c.verb in ("pause", "resume", "stop"):
            state = {"pause": "paused", "resume": "running", "stop": "finished"}[c.verb]
            facts.append(ev.StateChanged(state, f"asked by {c.person}"))  # type: ignore[arg-type]
        elif c.verb == "rollback":
            target = int(c.arguments["version"])
            if 0 <= target <= tape.version and tape.head is not None and target != tape.head:
                facts.append(ev.HeadMoved(tape.head, target, "rollback", c.command))
                reason, tape.head = f"head v{tape.head} to v{target}", target
            else:
                end, reason = "refused", f"there is no version v{target} to go to"
        elif c.verb == "undo" and tape.head is not None:
            facts.append(ev.HeadMoved(tape.head, tape.version, "undo", c.command))
            reason, tape.head = f"head v{tape.head} to v{tape.version}", tape.version
        elif c.verb == "direct":
            name = str(c.arguments["text"]).splitlines()[0][:60]
            facts.append(ev.DirectionChanged(f"d{c.command}", name, "person", "obeyed", "it is next", tape.turn))
        elif c.verb == "acknowledge":
            facts.append(ev.AlertClosed(int(c.arguments["alert"]), c.person))
        tape.journal.answer(ev.CommandChanged(c.command, c.verb, end, c.person, reason), *facts)  # type: ignore[arg-type]
    return state


if __name__ == "__main__":
    main(sys.argv[1])
