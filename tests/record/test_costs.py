"""The ledger of costs: every call falls to the version that came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.record import events as ev
from engine.record.costs import costs, total_percent
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.scores import Score

GOOD = Score("mha_cpu", True, "ok", "", "cpu", 1.0, (), 1.0)


def version(number: int, ratio: float | None = None) -> ev.VersionCommitted:
    return ev.VersionCommitted(number, f"c{number}", None, number, "improved", "", f"v{number}", GOOD, ratio)


def tried(number: int) -> ev.AttemptScored:
    return ev.AttemptScored(number, 1, 0, "", "", f"h{number}", GOOD)


def test_each_cost_falls_to_the_next_version(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "journal.db", "r") as journal:
        journal.append(tried(0), version(0), at=100.0)
        journal.append(ev.Spent("turn", 10, 5, 100, 20, 0.5, "m"), at=110.0)
        journal.append(ev.Spent("turn", 1, 1, 0, 0, None, "unknown"), tried(1), version(1, 1.25), at=160.0)
        journal.append(ev.Spent("review", 1, 1, 0, 0, 0.1, "m"), tried(2), version(2, 1.2), at=200.0)
        journal.append(tried(3), ev.Spent("turn", 2, 2, 0, 0, 0.2, "m"), at=230.0)
    with Reader(tmp_path / "journal.db") as reader:
        first, second, rest = costs(reader)
    assert (first.version, first.calls, first.attempts, first.tokens, first.seconds) == (1, 2, 1, 137, 60.0)
    assert (first.usd, first.unpriced, first.percent) == (0.5, 1, 25.0)
    assert first.usd_per_percent == 0.02
    assert (second.usd, rest.version, rest.usd, rest.seconds, rest.usd_per_percent) == (0.1, None, 0.2, 30.0, None)
    assert total_percent((first, second, rest)) == pytest.approx(50.0)


def test_a_run_that_did_nothing_cost_nothing(tmp_path: Path) -> None:
    Journal.create(tmp_path / "journal.db", "r").close()
    with Reader(tmp_path / "journal.db") as reader:
        assert costs(reader) == ()
