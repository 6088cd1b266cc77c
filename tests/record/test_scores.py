"""A score vector is all or nothing, and reads back from JSON."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from engine.record.scores import Check, ConfigurationScore, Integrity, Score, geomean


def test_a_score_reads_back_from_json_and_ignores_what_it_does_not_know() -> None:
    entries = (ConfigurationScore("a", False, reason="NaN in row 3"),)
    score = Score("p", False, "check", "NaN", "cpu", 1.0, entries, integrity=Integrity("1", (Check("x", False),)))
    value = json.loads(json.dumps(score.to_json())) | {"of_the_future": 1}
    assert Score.from_json(value) == score


def test_the_geomean_of_a_vector_with_a_gap_does_not_exist() -> None:
    assert geomean([]) is None
    assert geomean([1.0, None]) is None
    assert geomean([1.0, 0.0]) is None
    assert geomean([2.0, 8.0]) == 4.0


@given(st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=20), st.floats(0.5, 2.0))
def test_the_geomean_scales_with_its_values(values: list[float], factor: float) -> None:
    before, after = geomean(values), geomean([v * factor for v in values])
    assert before is not None and after is not None
    assert math.isclose(after, before * factor, rel_tol=1e-9)
