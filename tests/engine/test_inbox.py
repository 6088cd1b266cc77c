"""A direction's life is its events: rebuilt after a crash, neither lost nor given twice."""

import pytest

from engine.inbox import Inbox, command_of, person_direction
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.session import Directive


@pytest.fixture
def journal(tmp_path):
    with Journal.create(tmp_path / "journal.db", "inbox") as made:
        yield made


@pytest.fixture
def reader(journal):
    with Reader(journal.path) as made:
        yield made


def give(journal, inbox, number, text, source="person"):
    identity = person_direction(number) if source == "person" else f"supervisor-{number}"
    journal.append(
        inbox.put(Directive(identity, source, text, number if source == "person" else None, directions=("a",)))
    )


def test_a_direction_is_handed_over_once_whole_and_in_order(journal, reader):
    inbox = Inbox(journal, reader)
    give(journal, inbox, 1, "first line\nsecond line")
    give(journal, inbox, 2, "another", "supervisor")
    taken = inbox.take(3)
    assert [d.text for d in taken] == ["first line\nsecond line", "another"]
    assert inbox.take(4) == []
    assert [(d.name, d.state) for d in reader.directions()] == [("first line", "seen"), ("another", "seen")]


def test_after_a_crash_what_was_not_answered_comes_again(journal, reader):
    inbox = Inbox(journal, reader)
    for number in (1, 2, 3):
        give(journal, inbox, number, f"direction {number}")
    inbox.take(3)
    inbox.answer("person-1", obeyed=True, words="done", turn=3)
    again = Inbox(journal, reader)
    assert [(d.id, d.command, d.directions) for d in again.take(9)] == [
        ("person-2", 2, ("a",)),
        ("person-3", 3, ("a",)),
    ]


def test_an_answer_to_something_that_was_never_taken_changes_nothing(journal, reader):
    inbox = Inbox(journal, reader)
    before = reader.last_seq()
    inbox.answer("person-9", obeyed=True, words="", turn=1)
    assert reader.last_seq() == before


def test_offers_are_made_once_and_do_not_overwrite_what_is_known(journal, reader):
    inbox = Inbox(journal, reader)
    inbox.offer([("a", "A", "because")], "playbook")
    journal.append(inbox.mark("a", "pinned", "by ada"))
    Inbox(journal, reader).offer([("a", "A", "because"), ("b", "B", "too")], "playbook")
    assert [(d.direction, d.state) for d in reader.directions()] == [("a", "pinned"), ("b", "offered")]


def test_a_direction_that_waits_is_not_handed_over_once_it_is_vetoed_and_still_is_once_pinned(journal, reader):
    inbox = Inbox(journal, reader)
    for number in (1, 2):
        journal.append(inbox.put(Directive(person_direction(number), "person", f"try {number}", number)))
    journal.append(inbox.mark("person-1", "vetoed", "by ada"), inbox.mark("person-2", "pinned", "by ada"))
    again = Inbox(journal, reader)
    assert [d.text for d in again.take(1)] == [d.text for d in inbox.take(1)] == ["try 2"]


def test_pins_and_vetoes_survive_a_restart(journal, reader):
    inbox = Inbox(journal, reader)
    inbox.offer([(i, i, "") for i in "abc"], "playbook")
    journal.append(
        *(inbox.mark(i, s, "") for i, s in (("a", "pinned"), ("b", "pinned"), ("c", "vetoed"), ("a", "vetoed")))
    )
    again = Inbox(journal, reader)
    assert (again.pinned, again.vetoed) == (inbox.pinned, inbox.vetoed) == (("b",), frozenset({"a", "c"}))


def test_only_a_persons_direction_has_a_command():
    assert command_of("person-12") == 12
    assert command_of("supervisor-12") is None
    assert command_of("person-x") is None
