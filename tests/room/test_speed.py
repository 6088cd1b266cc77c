"""The figures of tests/bench/room.py on a smaller run, with room for a busy machine: what grows too slow shows here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.record.run import RunFolder
from tests.bench import room as bench
from tests.room import long

GENEROUS = 8.0  # times the target, beside whatever else this machine does


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of 40,000 events."""
    return long.write(tmp_path_factory.mktemp("busy") / "busy", 40_000)


@pytest.fixture
def run(busy: RunFolder) -> Iterator[RunFolder]:  # type: ignore[override]
    """The same, with this process as its engine."""
    with bench.engine(busy):
        yield busy


def missed(figures: list[bench.Figure]) -> list[str]:
    """What is further from its target than a busy machine explains."""
    return [f"{f.name}: {f.measured:.3g} {f.unit}" for f in figures if f.measured > f.target * GENEROUS]


def test_it_attaches_and_searches_soon_and_stays_small(run: RunFolder):
    found = bench.attach(run, 1)
    assert not missed([*found, *bench.search(run, 2)])
    assert found[1].measured < found[1].target, "memory does not depend on how busy a machine is"


def test_keys_and_events_are_on_the_screen_soon(run: RunFolder):
    assert not missed([*bench.keys(run, 10), *bench.freshness(run, 3)])


def test_it_is_quiet_while_nothing_happens_and_cheap_while_much_does(run: RunFolder):
    figures = bench.quiet(run, 4.0)
    assert not missed(figures)
    by_name = {f.name: f.measured for f in figures}
    assert by_name["idle, to the terminal"] < 300


def test_a_terminal_that_stops_reading_neither_slows_the_engine_nor_loses_the_end(run: RunFolder):
    assert not missed(bench.deaf(run, 3.0))


@pytest.mark.soak
def test_memory_does_not_grow_with_the_events_that_pass(run: RunFolder):
    grown, _ = bench.growth(run, 2.0, 60, looks=1)
    assert grown.measured < grown.target


@pytest.mark.soak
def test_three_days_with_a_redraw_every_second_keep_the_memory(run: RunFolder):
    grown, slope = bench.growth(run, 72.0, 3600)
    assert grown.measured < grown.target
    assert slope.measured < slope.target
