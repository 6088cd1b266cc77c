"""The integrity report of a score: which checks ran, with what margin, and under which sandbox.

One rule: it says what happened. A check that was not reached is not listed, and the one that failed carries the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.record.scores import Check, Integrity
from engine.scorer.bench import Bench, Tally
from engine.scorer.failure import Failure
from engine.scorer.intake import Candidate
from engine.scorer.quiet import is_quiet
from engine.scorer.timing import Timing

SAMPLES = 4096


def report(
    bench: Bench,
    tally: Tally,
    *,
    candidate: Candidate | None = None,
    timings: Sequence[Timing] = (),
    failure: Failure | None = None,
    others_share: float | None = None,
) -> Integrity:
    """The report of one candidate's evaluation (or of a baseline's, without `candidate`)."""
    sandbox = bench.children.sandbox
    own = bench.device.confinement() if candidate is not None else None
    checks = [
        *_before(bench, candidate),
        *([own] if own else ()),
        *(_during(bench, tally) if tally.calls else ()),
    ]
    if failure is not None:
        checks = [c for c in checks if c.name != failure.check]
        checks.append(Check(failure.check, False, _margin(bench, failure), failure.reason))
    spreads = [t.spread for t in timings if t.spread is not None]
    return Integrity(
        tier=sandbox.tier,
        checks=tuple(checks),
        calls=tally.calls,
        noise=max(spreads) if spreads else None,
        quiet=is_quiet(others_share, tally.disturbed),
        unsafe=sandbox.unsafe,
    )


def _before(bench: Bench, candidate: Candidate | None) -> list[Check]:
    if candidate is None:
        return []
    sandbox = bench.children.sandbox
    held = f"{len(sandbox.probes)} attacks held off at start" if sandbox.probes else "no sandbox: --unsafe-no-sandbox"
    return [
        Check("intake", True, None, f"{len(candidate.files)} files copied, sha256 {candidate.hash[:16]}"),
        Check("sandbox", not sandbox.unsafe, None, f"{sandbox.tier}: {held}"),
        Check("build", True, None, "only the toolchain and the copy in sight"),
    ]


def _during(bench: Bench, tally: Tally) -> list[Check]:
    problem, calls = bench.judge.problem, f"{tally.calls} calls"
    limit = bench.device.limit_gflops
    checks = [
        Check("inputs", True, None, f"fresh and secret in each of {calls}, read-only, at shifting addresses"),
        Check("replies", True, None, f"exactly one for each of {calls}"),
        Check("early-sample", True, None, f"{SAMPLES} outputs of each call as they were at its reply"),
        Check("guards", True, None, "nothing written outside the output"),
        Check("finite", True, None, "every output element written, none NaN or infinite"),
        Check("error", True, tally.worst_error / problem.tolerance, f"{tally.rows} rows against float64"),
    ]
    if tally.holdouts:
        checks.append(Check("holdouts", True, None, f"{tally.holdouts} other shapes among the timed calls"))
    if limit is not None:
        checks.append(Check("physics", True, tally.physics, f"of {limit:.0f} GFLOPS, this device's arithmetic"))
    return checks


def _margin(bench: Bench, failure: Failure) -> float | None:
    error = failure.relative_error
    return None if error is None else error / bench.judge.problem.tolerance
