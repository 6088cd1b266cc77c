"""What the looking commands print, for people and for scripts."""

import json
from dataclasses import replace

from avo_tui.commands.look import status_text
from avo_tui.summary import Summaries
from engine.record.reader import Reader
from engine.record.run import RunFolder
from engine.record.scores import Integrity


def test_status_json_is_the_contract(past):
    status = past("status", "climb", "--json").json
    assert status["run"] == "climb"
    assert status["problem"] == "tiny"
    assert status["operator"] == "climber:create"
    assert status["state"] == "finished"
    assert status["engine_alive"] is False
    assert status["heartbeat_age_s"] >= 0
    assert status["incumbent"]["version"] == 4
    assert len(status["incumbent"]["commit"]) == 40
    assert status["incumbent"]["geomean_tflops"] > 0
    assert (status["versions"], status["attempts"], status["alerts_open"]) == (5, 6, 0)
    assert set(status["spend"]) >= {"usd", "input_tokens", "output_tokens", "cache_read_tokens"}
    assert 0 < status["elapsed_s"] < 60


def test_status_names_the_incumbent_its_gain_and_the_baseline(past):
    said = past("status", "climb")
    assert said.code == 0
    assert "climb  finished  tiny" in said.out
    assert "v4 " in said.out
    assert "x the seed" in said.out
    assert "x torch_sdpa" in said.out


def test_status_names_the_sandbox_and_warns_where_there_is_none(past):
    with Summaries(RunFolder(past.runs / "climb")) as summaries:
        summary = summaries.take()
    assert past("status", "climb", "--json").json["sandbox"] == {"tier": summary.tier, "unsafe": summary.unsafe}
    held = under(summary, tier="bwrap+seccomp", unsafe=False)
    assert "sandbox    bwrap+seccomp" in status_text(held).splitlines()
    assert held.to_json()["sandbox"] == {"tier": "bwrap+seccomp", "unsafe": False}
    assert "UNSAFE: no sandbox" in status_text(under(summary, tier="none", unsafe=True))
    assert "sandbox" not in status_text(under(summary, tier="", unsafe=False))


def under(summary, **integrity):
    """The summary, had its scores been taken in that sandbox."""
    score = replace(summary.incumbent.score, integrity=Integrity(**integrity))
    return replace(summary, incumbent=replace(summary.incumbent, score=score), last=score)


def test_runs_lists_every_run_and_those_that_cannot_be_read(past):
    broken = past.runs / "broken"
    broken.mkdir()
    (broken / "journal.db").write_bytes(b"this is no database, not at all" * 40)
    try:
        listed = {r["run"]: r for r in past("runs", "--json").json}
        assert listed["climb"]["state"] == "finished"
        assert listed["broken"]["state"] == "unreadable"
        said = past("runs")
        assert said.code == 0
        assert "climb" in said.out
        assert "unreadable" in said.out
    finally:
        (broken / "journal.db").unlink()
        broken.rmdir()


def test_versions_json_is_the_contract(past):
    versions = past("versions", "climb", "--json").json
    assert [v["version"] for v in versions] == [0, 1, 2, 3, 4]
    assert [v["parent"] for v in versions] == [None, 0, 1, 2, 3]
    assert all(v["active"] for v in versions)
    last = versions[-1]
    assert set(last) >= {"version", "commit", "parent", "active", "geomean_tflops", "verdict", "direction"}
    assert set(last) >= {"created_at", "configurations"}
    assert last["verdict"] == "improved"
    assert [c["name"] for c in last["configurations"]] == ["small", "causal"]
    assert set(last["configurations"][0]) >= {"name", "correct", "tflops", "tflops_std", "latency_us", "reason"}


def test_versions_marks_the_incumbent(past):
    lines = past("versions", "climb").out.splitlines()
    assert len(lines) == 6
    assert "*" in lines[-1]
    assert "improved" in lines[-1]


def test_log_json_is_one_array_of_every_event(past):
    events = past("log", "climb", "--json").json
    with Reader(RunFolder(past.runs / "climb").journal) as reader:
        assert [e["seq"] for e in events] == [e.seq for e in reader.events(limit=100_000)]
    assert {"run_started", "version", "attempt", "gate"} <= {e["kind"] for e in events}
    assert all(isinstance(e["data"], dict) for e in events)


def test_log_takes_a_kind_a_tail_and_a_place_to_begin(past):
    versions = past("log", "climb", "--kind", "version", "--json").json
    assert [e["data"]["version"] for e in versions] == [0, 1, 2, 3, 4]
    assert [e["seq"] for e in past("log", "climb", "--tail", "3", "--json").json] == [
        e["seq"] for e in past("log", "climb", "--json").json[-3:]
    ]
    after = past("log", "climb", "--after", str(versions[3]["seq"]), "--kind", "version", "--json").json
    assert [e["data"]["version"] for e in after] == [4]
    assert past("log", "climb", "--after", "99999", "--json").json == []


def test_log_finds_words(past):
    found = past("log", "climb", "--search", "doubles", "--json").json
    assert found
    assert all("doubles" in str(e["data"]) for e in found)


def test_follow_ends_with_the_run_and_gives_one_value_a_line(past):
    said = past("log", "climb", "--follow", "--json", "--after", "0")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [e["seq"] for e in lines] == [e["seq"] for e in past("log", "climb", "--json").json]


def test_attempts_tell_failures_and_are_searchable(past):
    attempts = past("attempts", "climb", "--json").json
    assert [a["attempt"] for a in attempts] == [*range(attempts[0]["attempt"], attempts[0]["attempt"] + 6)]
    wrong = [a for a in attempts if not a["correct"]]
    assert len(wrong) == 1
    assert wrong[0]["stage"] == "check"
    assert "row 3 differs" in wrong[0]["reason"]
    found = past("attempts", "climb", "--search", "doubles", "--json").json
    assert 0 < len(found) < len(attempts)
    assert past("attempts", "climb", "--search", "zebra").out == "no attempt of run climb has these words\n"


def test_show_gives_a_version_with_scores_baselines_and_integrity(past):
    shown = past("show", "climb", "v4", "--json").json
    assert shown["version"] == 4
    assert shown["correct"] is True
    assert shown["baselines"]["torch_sdpa"][0]["tflops"] == 3.0
    assert {"tier", "checks", "calls"} <= set(shown["integrity"])
    text = past("show", "climb", "v4", "--diff").out
    for words in ("incumbent", "parent     v3", "improved", "doubles", "torch_sdpa", "+// speed: 6"):
        assert words in text


def test_show_gives_an_attempt_with_its_reason_and_diff(past):
    wrong = next(a["attempt"] for a in past("attempts", "climb", "--json").json if not a["correct"])
    shown = past("show", "climb", f"a{wrong}", "--json", "--diff").json
    assert shown["stage"] == "check"
    assert "+// speed: 3" in shown["diff"]
    text = past("show", "climb", f"a{wrong}").out
    assert "not kept" in text
    assert "row 3 differs" in text


def test_diff_of_two_versions_and_of_one_against_its_parent(past):
    both = past("diff", "climb", "v0", "v4").out
    assert "-// speed: 1.0" in both
    assert "+// speed: 6" in both
    one = past("diff", "climb", "v4", "--json").json
    assert (one["from"], one["to"]) == (3, 4)
    assert "-// speed: 5" in one["diff"]
    past("diff", "climb", "v0").refused(2, "v0 has no parent")


def test_export_writes_sources_score_and_how_to_build(past, tmp_path):
    said = past("export", "climb", "best", "-o", str(tmp_path / "out"), "--json")
    assert said.json["version"] == 4
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"attention.cpp", "score.json", "README.md"}
    assert "// speed: 6" in (tmp_path / "out" / "attention.cpp").read_text()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "avo score . --problem tiny" in readme
    assert "c++ -O2 -fPIC -shared -I. attention.cpp -o libattention.so" in readme
    assert "torch_sdpa" in readme
    past("export", "climb", "best", "-o", str(tmp_path / "out")).refused(2, "not empty")


def test_costs_of_a_run_without_model_calls_are_time_and_attempts(past):
    lines = past("costs", "climb").out.splitlines()
    assert lines[0].split() == ["version", "gain", "time", "attempts"]
    assert [line.split()[0] for line in lines[1:5]] == ["v1", "v2", "v3", "v4"]
    assert sum(c["attempts"] for c in past("costs", "climb", "--json").json) == 5


def test_lists_of_directions_alerts_and_commands_are_json_too(past):
    directions = past("directions", "climb", "--json").json
    assert "a wider tile 1" in {d["name"] for d in directions}
    assert past("alerts", "climb", "--json").json == []
    assert past("commands", "climb", "--json").json == []
    assert "a wider tile 1" in past("directions", "climb").out


def test_a_run_is_found_by_a_unique_beginning_and_by_its_path(past):
    assert past("status", "cli", "--json").json["run"] == "climb"
    assert past("status", str(past.runs / "climb"), "--json").json["run"] == "climb"
    assert past("status", "climb", "--runs", str(past.runs), "--json").json["run"] == "climb"


def test_text_of_a_candidate_cannot_move_the_cursor():
    from avo_tui.tables import clean, one_line

    nasty = "a\x1b[2Jb\x07\u202ec\r\nd\te"
    assert clean(nasty) == "a[2Jbc\nd   e"
    assert one_line(nasty) == "a[2Jbc d e"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"


def test_ratios_are_over_the_strongest_baseline(tmp_path):
    from avo_tui.summary import Summaries
    from engine.record.events import BaselineMeasured, VersionCommitted
    from engine.record.journal import Journal
    from engine.record.scores import ConfigurationScore, Score

    def score(tflops):
        return Score("p", True, "ok", "", "d", 1.0, (ConfigurationScore("c", True, tflops),), geomean_tflops=tflops)

    folder = RunFolder(tmp_path)
    with Journal.create(folder.journal, "r") as journal:
        journal.append(VersionCommitted(0, "a" * 40, None, 0, "improved", "", "the seed", score(6.0)))
        journal.append(BaselineMeasured("apple", score(2.0)), BaselineMeasured("zebra", score(4.0)))
    with Summaries(folder) as summaries:
        summary = summaries.take()
    assert list(summary.baselines) == ["zebra", "apple"]
    assert summary.rows()[0].ratio == 1.5
    assert summary.against("apple") == 3.0
