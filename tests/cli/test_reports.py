"""`avo report`: one page that needs nothing beside itself, pictures, CSV and JSON, for small runs and the recorded one."""

import csv
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from avo_tui.report import png
from avo_tui.report.drawing import Drawing, Labels, Text, ticks, value_scale
from avo_tui.report.facts import gather, group_of
from avo_tui.report.files import write
from avo_tui.report.trajectory import trajectory
from avo_tui.summary import Summaries
from engine.record.events import AttemptScored, BaselineMeasured, Spent, VersionCommitted
from engine.record.journal import Journal
from engine.record.run import RunFolder
from engine.record.scores import ConfigurationScore, Score

FILES = ("index.html", "report.json", "versions.csv", "configurations.csv", "attempts.csv")
PICTURES = ("trajectory.png", "configurations.png", "versions.png")


class Page(HTMLParser):
    """What a page is made of: that every element is closed in order, and what it would fetch."""

    void = frozenset({"meta"})

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.text, self.seen = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "xlink:href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The recorded run on an H200, laid out."""
    from avo_tui.commands.replay import shipped
    from engine.archive import unpack

    made = unpack(shipped()["mha_cuda/h200-1122"], tmp_path_factory.mktemp("recorded"))
    return RunFolder(made.path)


def test_a_report_is_one_page_with_figures_and_tables_and_the_same_facts_as_files(past, tmp_path):
    said = past("report", "climb", "-o", str(tmp_path / "out"), "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json["files"] == [*FILES, *PICTURES]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*FILES, *PICTURES])
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert page.links == []
    assert "script" not in page.seen
    assert page.seen.count("svg") == 3
    for words in ("Versions", "Attempts", "Interventions", "Alerts", "Spend", "Machine and integrity", "torch_sdpa"):
        assert any(words in text for text in page.text), words
    versions = rows(tmp_path / "out" / "versions.csv")
    assert [v["version"] for v in versions] == ["0", "1", "2", "3", "4"]
    assert all(float(v["over_torch_sdpa"]) > 0 for v in versions)
    assert len(rows(tmp_path / "out" / "attempts.csv")) == 6
    assert {r["source"] for r in rows(tmp_path / "out" / "configurations.csv")} >= {"v0", "v4", "torch_sdpa"}
    value = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (value["run"], value["incumbent"]["version"], value["outcomes"]["improved"]) == ("climb", 4, 5)
    assert past("report", "climb", "-o", str(tmp_path / "out")).code == 0  # an earlier report is replaced


def test_a_recorded_run_is_reported_by_the_name_that_replay_plays_it_by(past, tmp_path):
    said = past("report", "mha_cuda/h200-1122", "-o", str(tmp_path / "out"), "--json")
    assert (said.code, said.err) == (0, "")
    assert len(rows(tmp_path / "out" / "versions.csv")) == 16


def test_the_page_reads_in_dark_in_light_and_on_paper(past, tmp_path):
    assert past("report", "climb", "-o", str(tmp_path)).code == 0
    text = (tmp_path / "index.html").read_text()
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert not re.search(r"url\(|@import|https?://", text)
    used = set(re.findall(r"var\(--([\w-]+)\)", text))
    assert used <= set(re.findall(r"--([\w-]+):", text))


def test_the_figures_of_the_recorded_run_tell_its_story(recorded):
    with Summaries(recorded) as summaries:
        facts = gather(summaries)
    texts = [s.text for s in trajectory(facts).shapes if isinstance(s, Text)]
    assert any(t.startswith("v1  3.09×  Hopper's own matrix instruction") for t in texts)
    assert {"fa4 709", "cudnn 651.4", "torch_flash 348.9"} <= set(texts)
    assert facts.unit == (1.0, "TFLOPS")
    assert {g: len(names) for g, names in facts.groups.items()} == {"causal": 4, "full": 4}
    assert facts.outcomes == {"improved": 12, "matched": 4, "regressed": 17, "unsubmitted": 42}
    assert facts.interventions[0].helped is True


def test_no_name_covers_another(recorded):
    with Summaries(recorded) as summaries:
        drawing = trajectory(gather(summaries))
    named = [s for s in drawing.shapes if isinstance(s, Text) and s.halo]
    assert len(named) >= 5
    for a in named:
        for b in named:
            assert a is b or abs(a.y - b.y) >= a.size or a.anchor != b.anchor


def test_pictures_are_pictures(recorded, tmp_path):
    image = pytest.importorskip("PIL.Image")
    with Summaries(recorded) as summaries:
        drawing = trajectory(gather(summaries))
    png.write(drawing, tmp_path / "t.png")
    with image.open(tmp_path / "t.png") as made:
        assert made.size == (2 * drawing.width, 2 * drawing.height)
        colours = {c for _, c in made.convert("RGB").getcolors(maxcolors=1 << 24)}
    assert (255, 255, 255) in colours
    assert bytes.fromhex("0b62c4") in {bytes(c) for c in colours}


def test_without_the_extra_the_report_is_written_and_says_how_to_get_the_pictures(past, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['PIL'] = None\n")
    place = Path(__file__).parent.parent.parent
    said = past("report", "climb", "-o", str(tmp_path / "out"), env={"PYTHONPATH": f"{tmp_path}:{place}"})
    assert said.code == 0
    assert "avo-tui[report]" in said.err
    assert len(said.err.splitlines()) == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_what_cannot_be_written_is_refused(past, tmp_path):
    past("report", "ghost", "-o", str(tmp_path / "out")).refused(2, "no run 'ghost'")
    past("report", "climb").refused(2, "-o")
    (tmp_path / "file").write_text("")
    past("report", "climb", "-o", str(tmp_path / "file")).refused(1, "is a file")
    past("report", "climb", "-o", "/proc/report").refused(2, "cannot write the report")
    past("report", "climb", "-o", str(past.runs / "climb" / "out")).refused(1, "inside the run's own folder")


def score(tflops, name="c_1", correct=True):
    entry = ConfigurationScore(name, correct, tflops if correct else None, 0.01)
    stage = "ok" if correct else "build"
    return Score("p", correct, stage, "", "d", 1.0, (entry,), geomean_tflops=tflops if correct else None)


def run_of(folder, *facts):
    with Journal.create(folder / "journal.db", "r") as journal:
        for fact in facts:
            journal.append(fact)
    return RunFolder(folder)


def test_a_run_without_a_version_and_names_that_would_be_markup_are_reported(past, tmp_path):
    evil = "<script>alert(1)</script>\x1b[2J"
    failed = AttemptScored(0, 0, None, "", evil, "h", score(0.0, correct=False))
    folder = run_of(tmp_path, failed)
    assert past("report", str(folder.path), "-o", str(tmp_path.parent / "none")).code == 0
    assert "no version was committed" in (tmp_path.parent / "none" / "index.html").read_text()
    other = tmp_path / "evil"
    other.mkdir()
    seed = AttemptScored(0, 0, None, "", evil, "h", score(1.0))
    first = VersionCommitted(0, "a" * 40, None, 0, "improved", "", evil, score(1.0))
    best = VersionCommitted(1, "b" * 40, 0, 1, "improved", "", evil, score(3.0), 3.0, 2.9, 3.1)
    attempt = AttemptScored(1, 1, 0, "", evil, "i", score(3.0))
    folder = run_of(other, seed, first, attempt, best, BaselineMeasured("base", score(2.0)))
    assert past("report", str(folder.path), "-o", str(tmp_path.parent / "evil")).code == 0
    text = (tmp_path.parent / "evil" / "index.html").read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    Page(text)


def test_what_a_run_has_spent_is_told_for_each_commit_and_percent(tmp_path):
    seed = VersionCommitted(0, "a" * 40, None, 0, "improved", "", "seed", score(1.0))
    calls = [Spent("turn", 1000, 200, 5000, 0, usd, "m") for usd in (0.25, 0.75)]
    best = VersionCommitted(1, "b" * 40, 0, 1, "improved", "", "best", score(1.1), 1.1, 1.05, 1.15)
    with Summaries(run_of(tmp_path, seed, *calls, best)) as summaries:
        files = write(summaries, tmp_path / "out")
    text = files[0].read_text()
    assert "In all $1.0000 in 2 calls: $1.0000 a commit, $0.1000 for each percent of the +10.0 % gained" in text
    assert "2,000 tokens in, 400 out, 10,000 read from the cache" in text
    value = json.loads(files[1].read_text())
    assert (value["costs"][0]["usd"], round(value["costs"][0]["usd_per_percent"], 6)) == (1.0, 0.1)


def test_a_long_run_is_thinned_and_no_version_is_lost(tmp_path):
    facts = [AttemptScored(0, 0, None, "", "seed", "h", score(1.0))]
    facts.append(VersionCommitted(0, "a" * 40, None, 0, "improved", "", "seed", score(1.0)))
    for n in range(1, 6101):
        facts.append(AttemptScored(n, 1, 0, "", "x", f"h{n}", score(1.0 + n / 6100)))
    facts.append(VersionCommitted(1, "b" * 40, 0, 6099, "improved", "", "last", score(2.0), 2.0, 1.9, 2.1))
    with Journal.create(tmp_path / "journal.db", "r") as journal:
        journal.append(*facts)
    with Summaries(RunFolder(tmp_path)) as summaries:
        found = gather(summaries)
        drawing = trajectory(found)
    assert sum(found.outcomes.values()) == 6101
    assert len(found.marks) < 3100
    assert {m.version for m in found.marks} >= {0, 1}
    assert len(drawing.shapes) < 4000


def test_axes_have_round_values_and_labels_find_free_places():
    assert ticks(value_scale([182.0, 774.0], 0, 100), 6) == [0, 200, 400, 600, 800]
    log = ticks(value_scale([9.0, 235.0], 0, 100), 6)
    assert log == [10, 20, 50, 100, 200]
    labels = Labels()
    first, second = (labels.place(0, 20, 50, 10, 5, (0, 100)) for _ in range(2))
    assert first == 20
    assert second is not None
    assert second >= 30
    labels.keep((0, 0, 100, 100))
    assert labels.place(0, 20, 50, 10, 5, (0, 100)) is None
    assert group_of("kv4_causal_4096") == ("kv4 causal", "4096")
    assert group_of("small") == ("", "small")


def test_the_report_needs_nothing_heavy(recorded):
    import subprocess

    code = "import sys, avo_tui.report.files; print([m for m in ('PIL','textual','torch','git','asyncio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert isinstance(Drawing(1, 1, "x").shapes, list)
