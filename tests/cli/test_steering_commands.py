"""Commands to a living engine: applied or refused, with the reason; and what is said when no engine lives."""

import os
import re
import signal

from tiny import DEADLINE_S, until

from engine.lineage import Lineage
from engine.record.reader import Reader


def head(folder):
    with Reader(folder.journal) as reader:
        return reader.head()


def test_pause_and_resume(calm):
    assert re.match(r"#\d+ pause: applied", calm("pause", "alive").out)
    assert calm("status", "alive", "--json").json["state"] == "paused"
    calm("pause", "alive").refused(1, "paused already")
    resumed = calm("resume", "alive", "--json")
    assert (resumed.code, resumed.json["state"]) == (0, "applied")
    assert calm("status", "alive", "--json").json["state"] == "running"
    calm("resume", "alive").refused(1, "not paused")


def test_rollback_and_undo_agree_in_journal_and_git_and_lose_nothing(avo, living):
    lineage = Lineage(living.lineage)
    before = {v.version: v.commit for v in lineage.versions()}
    assert avo("rollback", "alive", "v2").code == 0
    assert head(living) == lineage.head() == 2
    versions = avo("versions", "alive", "--json").json
    assert [v["active"] for v in versions] == [True, True, True, False, False]
    avo("rollback", "alive", "v2").refused(1, "v2")
    avo("rollback", "alive", "v4").refused(1, "v4")
    assert avo("undo", "alive").code == 0
    assert head(living) == lineage.head() == 4
    assert {v.version: v.commit for v in lineage.versions()} == before
    avo("undo", "alive").refused(1)


def test_a_version_that_does_not_exist_is_named(calm):
    calm("rollback", "alive", "v99").refused(2, "no version v99", "avo versions alive")
    calm("rollback", "alive", "99").refused(2, "v99")
    calm("rollback", "alive", "vvv").refused(2, "'vvv' does not name a version")
    calm("show", "alive", "a99").refused(2, "no attempt a99")


def test_a_direction_comes_from_words_standard_input_or_a_file(calm, tmp_path):
    (tmp_path / "idea.txt").write_text("from a file\nwith two lines\n")
    assert calm("direct", "alive", "try", "wider", "tiles").code == 0
    assert calm("direct", "alive", "-", stdin="from a pipe").code == 0
    assert calm("direct", "alive", f"@{tmp_path / 'idea.txt'}").code == 0

    def answered():
        found = [d for d in calm("directions", "alive", "--json").json if d["source"] == "person"]
        return found if len(found) == 3 and all(d["state"] == "obeyed" for d in found) else None

    names = [d["name"] for d in until(answered)]
    assert names == ["try wider tiles", "from a pipe", "from a file"]
    people = {c["person"] for c in calm("commands", "alive", "--json").json}
    assert people == {"ada"}


def test_an_empty_or_huge_direction_is_refused_before_it_is_sent(calm, tmp_path):
    before = calm("commands", "alive", "--json").json
    calm("direct", "alive", "   ").refused(2, "empty")
    calm("direct", "alive", "-", stdin="x" * 1_000_000).refused(2, "longer than 64,000 characters")
    (tmp_path / "big").write_text("word " * 250_000)
    calm("direct", "alive", f"@{tmp_path / 'big'}").refused(2, "longer than 64,000 characters")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00" * 10)
    calm("direct", "alive", f"@{tmp_path / 'binary'}").refused(2, "not text")
    calm("direct", "alive", "@/does/not/exist").refused(2, "No such file")
    assert calm("commands", "alive", "--json").json == before


def test_limits_can_be_changed_and_end_the_run(avo, living):
    avo("limits", "alive").refused(2, "name a limit")
    assert avo("limits", "alive", "--versions", "4").code == 0
    until(lambda: avo("status", "alive", "--json").json["state"] == "finished")
    assert avo("status", "alive", "--json").json["limits"]["versions"] == 4


def test_what_cannot_be_is_refused_with_the_engines_reason(calm):
    calm("acknowledge", "alive", "7").refused(1, "alert")
    calm("veto", "alive", "no-such-direction").refused(1, "no-such-direction")
    calm("cancel", "alive", "55").refused(1)


def test_without_waiting_the_command_is_only_sent(avo, living):
    said = avo("pause", "alive", "--no-wait", "--json")
    assert (said.code, said.json["verb"], said.json["command"]) == (0, "pause", 1)
    until(lambda: avo("status", "alive", "--json").json["state"] == "paused")


def test_stop_ends_the_run_and_what_comes_after_is_refused_plainly(avo, living):
    assert avo("stop", "alive").code == 0
    until(lambda: avo("status", "alive", "--json").json["state"] == "finished")
    for words in (("pause",), ("stop",), ("undo",), ("direct", "faster")):
        verb, *rest = words
        avo(verb, "alive", *rest).refused(1, "has finished", "avo resume alive")
    avo("rollback", "alive", "v1").refused(1, "has finished")


def test_a_killed_engine_is_seen_and_resumed_at_the_same_incumbent(avo, living):
    with Reader(living.journal) as reader:
        engine = reader.engine()
    os.killpg(engine.pid, signal.SIGKILL)
    until(lambda: avo("status", "alive", "--json").json["state"] == "crashed", DEADLINE_S)
    status = avo("status", "alive")
    assert "crashed" in status.out
    assert "avo resume alive" in status.out
    avo("pause", "alive").refused(1, "is not running", "avo resume alive")
    resumed = avo("resume", "alive", "--json")
    assert resumed.json["started"] is True
    assert resumed.json["pid"] != engine.pid
    after = avo("status", "alive", "--json").json
    assert (after["state"], after["incumbent"]["version"], after["versions"]) == ("running", 4, 5)
    assert any(e["data"]["resumed"] for e in avo("log", "alive", "--kind", "run_started", "--json").json)


def test_a_run_that_was_paused_when_it_died_goes_on_when_resumed(avo, living):
    assert avo("pause", "alive").code == 0
    with Reader(living.journal) as reader:
        os.killpg(reader.engine().pid, signal.SIGKILL)
    until(lambda: avo("status", "alive", "--json").json["state"] == "crashed")
    assert avo("resume", "alive").code == 0
    until(lambda: avo("status", "alive", "--json").json["state"] == "running")


def test_a_finished_run_goes_on_with_a_larger_limit(avo):
    folder = avo.start("short", versions=1)
    until(lambda: avo("status", "short", "--json").json["state"] == "finished")
    with Reader(folder.journal) as reader:
        events = reader.last_seq()
    avo("resume", "short").refused(1, "limit of 1 versions", "avo resume short --versions 2")
    with Reader(folder.journal) as reader:
        assert reader.last_seq() == events
    assert avo("resume", "short", "--versions", "2").code == 0
    until(lambda: avo("status", "short", "--json").json["versions"] == 3)
    until(lambda: avo("status", "short", "--json").json["state"] == "finished")
    assert head(folder) == 2
