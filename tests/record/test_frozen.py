"""Our frozen dataclass is the standard library's in everything but the time that its definition takes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import pytest

from engine.record import events as ev
from engine.record.frozen import FEW, dataclass


@dataclass(frozen=True, slots=True)
class Empty:
    """Has nothing."""


@dataclass(frozen=True, slots=True)
class One(Empty):
    """Has one value, and one of the class."""

    kind: ClassVar[str] = "one"
    a: float


@dataclass(frozen=True, slots=True)
class Three(One):
    """Has defaults of both kinds."""

    b: str = "b"
    c: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Open(Three):
    """Has room for what it computes."""

    @cached_property
    def twice(self) -> float:
        return self.a * 2


@dataclasses.dataclass(frozen=True, slots=True)
class Usual:
    """The standard library's own, to compare with."""

    a: float
    b: str = "b"
    c: Mapping[str, int] = dataclasses.field(default_factory=dict)


def test_it_is_made_and_read_as_the_usual_one() -> None:
    for args, named in (((1.0,), {}), ((1.0, "x"), {"c": {"y": 2}}), ((), {"a": 3.0, "c": {}})):
        ours, usual = Three(*args, **named), Usual(*args, **named)  # type: ignore[arg-type]
        assert dataclasses.asdict(ours) == dataclasses.asdict(usual)
        assert repr(ours) == repr(usual).replace("Usual", "Three")
        assert [f.name for f in dataclasses.fields(ours)] == ["a", "b", "c"]
        assert dataclasses.replace(ours, b="new") == Three(ours.a, "new", ours.c)
    assert Three(1.0).c is not Three(1.0).c


@pytest.mark.parametrize("wrong", [((), {}), ((1.0,), {"d": 4}), ((1.0, "b", {}, 4), {}), ((1.0,), {"a": 1.0})])
def test_a_wrong_call_is_refused_also_as_the_first_one(wrong: tuple[Any, Any]) -> None:
    @dataclass(frozen=True, slots=True)
    class Fresh(Three):
        """Never made yet."""

    args, named = wrong
    for _ in range(2):
        with pytest.raises(TypeError):
            Fresh(*args, **named)


def test_it_cannot_be_changed() -> None:
    for fact in (Three(1.0), Open(1.0)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            fact.b = "other"  # type: ignore[misc]
        with pytest.raises(dataclasses.FrozenInstanceError):
            del fact.b  # type: ignore[misc]
        with pytest.raises(dataclasses.FrozenInstanceError):
            fact.unknown = 1  # type: ignore[attr-defined]
    assert not hasattr(Three(1.0), "__dict__")
    assert Open(2.0).twice == 4.0


def test_equal_are_those_of_one_class_with_equal_values() -> None:
    not_a_number = float("nan")
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert One(1.0) == One(1.0)
    assert One(1.0) != One(2.0)
    assert One(not_a_number) == One(not_a_number)
    assert Three(1.0) != Open(1.0)
    assert hash(One(1.0)) == hash(One(1.0))
    assert len({ev.Said("a"), ev.Said("a"), ev.Said("b")}) == 2


def test_it_travels_and_is_matched() -> None:
    fact = ev.ToolStarted("c1", "shell", {"command": "make"}, 3)
    assert pickle.loads(pickle.dumps(fact)) == copy.copy(fact) == copy.deepcopy(fact) == fact
    match fact:
        case ev.ToolStarted(call, tool, arguments, turn=turn):
            assert (call, tool, arguments["command"], turn) == ("c1", "shell", "make", 3)
        case _:
            raise AssertionError(fact)


@pytest.mark.parametrize("made", range(FEW + 3))
def test_the_first_few_and_all_the_later_ones_are_made_alike(made: int) -> None:
    @dataclass(frozen=True, slots=True)
    class Fact:
        a: float
        b: str = "b"
        c: Mapping[str, int] = dataclasses.field(default_factory=dict)

    before = [Fact(float(i)) for i in range(made)]
    assert before == [Fact(float(i), c={}) for i in range(made)]
    assert dataclasses.asdict(Fact(1.0, "x")) == {"a": 1.0, "b": "x", "c": {}}
    assert Fact(1.0).c is not Fact(1.0).c
    for args, named in (((), {}), ((1.0, "x", {}, 4), {}), ((1.0,), {"a": 2.0}), ((1.0,), {"d": 2.0})):
        with pytest.raises(TypeError):
            Fact(*args, **named)  # type: ignore[arg-type, call-arg]
    assert Fact(2.0, c={"y": 1}) == Fact(c={"y": 1}, a=2.0, b="b")
