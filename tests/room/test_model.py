"""The pure part of the room: lines, the floor plan, plots, tables, diffs, moments and formats."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from avo_tui.model import (
    diff,
    plan,
    plot,
    review,
    show,
    status,
    steering,
    table,
    trajectory,
    transcript,
    travel,
    tree,
    tries,
)
from avo_tui.model.lines import clean, clip, cut, fit, fold, join_fitting, plain, spread, width_of, wrap
from avo_tui.model.moment import moment
from avo_tui.model.review import Subject, load
from avo_tui.model.snapshot import Builder, Snapshot
from avo_tui.model.view import View
from avo_tui.themes import PALETTES, to_ascii
from engine.record import events as ev
from engine.record.errors import UsageError
from engine.record.reader import Entry, Reader
from engine.record.run import RunFolder
from tests.room import scripted, stage

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=120)
spans = st.lists(st.tuples(texts.map(lambda t: clean(t).replace("\n", "")), st.sampled_from(["", "dim"])), max_size=6)


@pytest.fixture
def now(run: RunFolder) -> Snapshot:
    """The story's last moment."""
    stage.adopt(run.path)
    builder = Builder(run, lambda: scripted.end_of(run))
    snapshot = builder.live()
    builder.close()
    return snapshot


@given(texts)
def test_clean_text_cannot_move_the_cursor_or_turn_the_line_round(text: str):
    assert not [
        c for c in clean(text) if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E)
    ]


def test_escape_sequences_vanish_whole():
    assert clean("\x1b[31mred\x1b[0m \x1b]0;title\x07ok \x1b]52;c;aGk=\x1b\\. \x1b(B\x9b2Jx") == "red ok . x"
    assert clean("10 %\r50 %\r100 %\ndone\r\n") == "100 %\ndone\n"
    assert clean("\u202egnp.exe") == "gnp.exe"


@given(texts, st.integers(4, 60))
def test_wrapped_lines_fit_and_lose_no_letter(text: str, width: int):
    text = clean(text)
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(spans, st.integers(1, 80))
def test_fitted_lines_have_exactly_their_width(parts, width: int):
    assert width_of(fit(tuple(parts), width)) == width
    assert width_of(clip(tuple(parts), width)) <= width


@given(spans, spans, st.integers(1, 80), st.floats(0, 0.9))
def test_spread_fills_its_width(a, b, width: int, share: float):
    assert width_of(spread(tuple(a), tuple(b), width, share=share)) == width


@given(spans, st.integers(0, 50), st.integers(1, 50))
def test_a_cut_is_never_too_wide(parts, start: int, width: int):
    assert width_of(cut(tuple(parts), start, width)) <= width


def test_parts_that_do_not_fit_are_left_out_whole():
    parts = [(("abc", ""),), (("defgh", ""),), (("ij", ""),)]
    assert plain(join_fitting(parts, (" ", ""), 7)) == "abc ij"


@given(
    st.integers(60, 320),
    st.integers(15, 110),
    st.integers(1, 7),
    st.integers(3, 40),
    st.sampled_from(["", *(pane for _, panes in plan.VIEWS.values() for pane in panes)]),
)
@settings(max_examples=300)
def test_the_floor_plan_covers_the_body_without_overlap(width, height, view, scores, zoom):
    placed = plan.plan(width, height - 3, view, zoom=zoom, scores=scores)
    cells = sum(p.width * p.height for p in placed)
    assert cells == width * (height - 3)
    for p in placed:
        assert p.x >= 0 <= p.y
        assert p.x + p.width <= width
        assert p.y + p.height <= height - 3
        assert p.height >= 2
        for q in placed:
            apart = p.x + p.width <= q.x or q.x + q.width <= p.x or p.y + p.height <= q.y or q.y + q.height <= p.y
            assert p is q or apart
    if not zoom:
        assert set(plan.VIEWS[view][1]) & {p.pane for p in placed}


def test_sparklines_rise_and_leave_gaps():
    assert plot.spark([1, 2, 4, 8], 4) == "▁▃▅▆"
    assert plot.spark([1, None, 8], 3)[1] == " "
    assert plot.spark([1, 2, 4, 8], 4, ascii=True).isascii()
    assert plot.spark([], 4) == plot.spark([None], 4) == ""


@given(st.floats(1e-6, 1e4), st.floats(1.001, 1e6), st.integers(2, 12), st.booleans())
def test_axis_ticks_lie_on_the_axis(low: float, factor: float, count: int, log: bool):
    high = low * factor
    found = plot.ticks(low, high, count, log=log)
    assert all(low * 0.999999 <= t <= high * 1.000001 for t in found)
    assert len(found) <= max(count, 3) + 1


def test_letters_on_a_canvas_are_not_drawn_over():
    canvas = plot.Canvas(10, 2)
    canvas.text(1, 0, "sdpa", "base")
    canvas.line(0, 7, 19, 7, "plot", layer=3)
    assert "sdpa" in plain(canvas.rows()[0])


def test_figures_share_one_unit_and_ages_are_short():
    unit = show.unit_for([0.0021, 0.131])
    assert (unit.full(0.131), unit.text(0.0021), unit.text(None)) == ("131.0 GFLOPS", "2.1", "—")
    assert show.unit_for([1668.0]).full(1668.0) == "1668 TFLOPS"
    assert [show.age(s) for s in (3, 70, 7300, 200_000, -5)] == ["now", "1m", "2h", "2d", "now"]
    assert [show.duration(s) for s in (0.42, 245, 11_520, 187_200)] == ["0.4s", "4m 05s", "3h 12m", "2d 4h"]
    assert (show.percent(0.042), show.percent(-0.0001), show.percent(None)) == ("+4.2 %", "0.0 %", "—")


def test_the_table_has_every_configuration_at_every_width(now: Snapshot):
    for width in (40, 54, 66, 80, 120, 200):
        rows = table.table(now, View(width=width))
        assert [r.key for r in rows[1:]] == [*scripted.NAMES, "geomean"]
        assert all(width_of(r.line) <= width for r in rows)
        assert "ratio" in plain(rows[0].line) or width < 50


def test_ratios_in_the_table_are_over_the_strongest_baseline(now: Snapshot):
    row = next(r for r in table.figures(now) if r.name == "full_2048")
    assert row.ratio == pytest.approx(row.best / row.baselines["torch_sdpa"])
    assert row.ratio < 1


def test_the_tree_keeps_withdrawn_versions_beside_the_line_of_the_head(now: Snapshot):
    lanes = tree.lanes(now.versions)
    assert (
        {v.version for v in now.versions if lanes[v.version] > 0}
        == {v.version for v in now.versions if not v.active}
        == {11}
    )
    text = "\n".join(plain(r.line) for r in tree.tree(now, View(width=60)))
    assert "○ v11" in text
    assert "withdrawn" in text


def test_filters_keep_and_leave_out(now: Snapshot):
    assert {r.key for r in tries.attempts(now, View(filter="crash"))} == {("attempt", n) for n in (16, 38, 60)}
    shown = tries.attempts(now, View(filter="!regressed !matched", width=100))
    assert not [r for r in shown if "regressed" in plain(r.line)]


@pytest.mark.parametrize(
    ("age", "words"), [(0.4, "LIVE 1s"), (7.0, "LIVE 7s"), (12.0, "LATE 12s"), (75.0, "SILENT 1m")]
)
def test_the_heartbeat_turns_amber_then_red_and_says_so_in_words(now: Snapshot, age: float, words: str):
    from dataclasses import replace

    line = status.heartbeat(replace(now, heartbeat_age_s=age))
    assert words in plain(line)
    assert {"LIVE": "good", "LATE": "warn", "SILENT": "bad"}[words.split(maxsplit=1)[0]] == line[0][1]


def test_a_crashed_engine_says_how_to_go_on(now: Snapshot):
    from dataclasses import replace

    dead = replace(now, state="crashed", engine_alive=False)
    assert "CRASHED" in plain(status.first_line(dead, 120))
    assert "avo resume mha_cpu-demo" in plain(status.doing(dead, 160))


def test_status_lines_fill_any_width(now: Snapshot):
    from dataclasses import replace

    empty = replace(now, incumbent=None, versions=(), attempts=0, baselines={}, last=None, alerts=())
    for width in range(60, 300, 7):
        for moment_ in (now, empty):
            assert width_of(status.first_line(moment_, width)) == width
            assert width_of(status.second_line(moment_, width)) == width
            assert width_of(status.second_line(with_integrity(now, unsafe=True), width)) == width
            assert width_of(status.doing(moment_, width)) == width
            assert width_of(status.health(moment_, width, readonly=True)) == width


@pytest.mark.parametrize("width", [80, 100, 120, 200, 300])
@pytest.mark.parametrize("tier", ["bwrap+seccomp", "landlock+seccomp"])
def test_the_status_names_the_sandbox_at_every_size(now: Snapshot, width: int, tier: str):
    held = with_integrity(now, tier=tier)
    assert tier.partition("+")[0] in shown_second_line(held, width)
    assert (tier in shown_second_line(held, width)) == (width > 80 or tier == "bwrap+seccomp")
    assert "UNSAFE" not in shown_second_line(held, width)


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200, 300])
def test_a_run_without_a_sandbox_says_so_before_everything_else(now: Snapshot, width: int):
    open_ = with_integrity(now, tier="none", unsafe=True)
    assert shown_second_line(open_, width).startswith(" ▲ UNSAFE: no sandbox ")
    assert "none" not in shown_second_line(open_, width)
    assert open_.to_json()["sandbox"] == {"tier": "none", "unsafe": True}


def with_integrity(s: Snapshot, **fields: object) -> Snapshot:
    """A moment whose incumbent was scored under another sandbox."""
    from dataclasses import replace

    assert s.incumbent is not None
    score = replace(s.incumbent.score, integrity=replace(s.incumbent.score.integrity, **fields))
    return replace(s, incumbent=replace(s.incumbent, score=score))


def shown_second_line(s: Snapshot, width: int) -> str:
    """Both parts of the second line, as wide as a room of `width` columns lays them out."""
    right = status.right_width(width, readonly=False)
    left = status.second_line(s, width - right, narrow=width < 100)
    return plain(left) + plain(status.doing(s, right))


def test_every_event_has_a_block_or_is_left_out_on_purpose():
    silent = {ev.StepStarted, ev.KnowledgeRead, ev.PlanChanged, ev.Spent}
    assert set(ev.kinds().values()) - set(transcript._MAKERS) == silent


def test_a_tool_s_end_completes_its_start(run: RunFolder):
    with Reader(run.journal) as reader:
        blocks = transcript.blocks_of(reader.events())
    tools = [b for b in blocks if b.kind == "tool_started"]
    assert tools
    assert not [b for b in tools if "running" in plain(b.tail)]
    assert not [b for b in blocks if b.kind == "tool_finished"]


def test_a_person_s_direction_is_not_told_twice():
    def head(why: str) -> str:
        event = ev.DirectionChanged("d1", "wider tiles", "person", "sent", why)
        block = transcript.block_of(Entry(1, 0.0, "direction", "", ""), event)
        assert block is not None
        return plain(block.head)

    assert head("wider tiles") == "◆ person wider tiles sent"
    assert head("wider tiles, all of them").endswith("sent: wider tiles, all of them")


def test_a_command_s_life_is_told_in_words(now: Snapshot):
    lives = {c.verb: plain(steering.life(c)) for c in now.commands}
    assert "sent → seen → ✓ applied" in lives["direct"]
    refused = next(c for c in now.commands if c.state == "refused")
    assert "✗ refused" in plain(steering.life(refused))
    assert "there is no version v99" in "".join(plain(r.line) for r in steering.commands(now, View(width=100)))


def test_the_last_moment_is_the_live_one(now: Snapshot, run: RunFolder):
    builder = Builder(run, lambda: scripted.end_of(run))
    then = moment(builder.reader, builder.summary(), now.last_seq)
    builder.close()
    for name in (
        "versions",
        "tries",
        "attempts",
        "baselines",
        "last",
        "interventions",
        "spend",
        "plan",
        "notes",
        "tail",
    ):
        assert getattr(then, name) == getattr(now, name), name
    assert then.incumbent == now.incumbent
    assert [a.alert for a in then.alerts] == [a.alert for a in now.alerts]
    assert {d.direction: d.state for d in then.directions} == {d.direction: d.state for d in now.directions}


def test_every_moment_knows_only_what_came_before_it(run: RunFolder):
    builder = Builder(run, lambda: scripted.end_of(run))
    summary = builder.summary()
    for seq in range(1, builder.reader.last_seq() + 1, 37):
        then = moment(builder.reader, summary, seq)
        assert then.last_seq == seq
        assert all(v.seq <= seq for v in then.versions)
        assert all(a.seq <= seq for a in then.tries)
        assert then.incumbent is None or then.incumbent.active
        assert then.taken_at <= scripted.end_of(run)
    builder.close()


def test_places_in_time_are_understood_or_refused_with_what_would_be(run: RunFolder):
    builder = Builder(run)
    r, end = builder.reader, scripted.end_of(run)
    assert travel.target(r, "now", end) is None
    assert travel.target(r, "v3", end) == r.version(3).seq
    assert travel.target(r, "a41", end) == r.attempt(41).seq
    assert travel.target(r, "#12", end) == 12
    ten = travel.target(r, "-10m", end)
    assert ten is not None
    assert abs(r.entry(ten).at - (end - 600)) < 30
    assert travel.target(r, "+0s", end) == 1
    for wrong in ("v99", "a9999", "noon", "25:00", "#0"):
        with pytest.raises(UsageError):
            travel.target(r, wrong, end)
    builder.close()


DIFF = """diff --git a/k.cpp b/k.cpp
index 1..2 100644
--- a/k.cpp
+++ b/k.cpp
@@ -1,4 +1,5 @@ void f() {
 int a = 1;
-float sum = 0.f;
+float total = 0.f;
+// more
 return;
"""


def test_a_diff_knows_lines_numbers_and_changed_words():
    lines = diff.parse(DIFF)
    assert [x.kind for x in lines] == ["file", "hunk", "same", "del", "add", "add", "same"]
    assert (lines[3].old, lines[4].new, lines[6].old, lines[6].new) == (2, 2, 3, 4)
    assert [lines[3].text[a:b] for a, b in lines[3].words] == ["sum"]
    assert [lines[4].text[a:b] for a, b in lines[4].words] == ["total"]
    assert diff.counts(lines) == (2, 1)


def test_both_layouts_of_a_diff_fit_and_show_every_line():
    lines = diff.parse(DIFF)
    for draw in (diff.unified, diff.side_by_side):
        for width in (40, 80, 151):
            rows = draw(lines, width, colours={})
            assert all(width_of(r.line) <= width for r in rows)
            text = "\n".join(plain(r.line) for r in rows)
            assert all(word in text for word in ("int a", "total", "return")), width


def test_changes_of_blanks_can_be_left_out():
    text = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-  a = 1;\n+    a = 1;\n"
    assert diff.counts(diff.parse(text)) == (1, 1)
    assert diff.counts(diff.parse(text, ignore_space=True)) == (0, 0)


def test_a_review_holds_diff_sources_scores_profile_log_and_story(run: RunFolder):
    with Reader(run.journal) as reader:
        found = load(run, reader, Subject(version=9), "parent", None)
        failed = load(run, reader, Subject(attempt=4), "parent", None)
        none = load(run, reader, Subject(version=77), "parent", None)
    assert (found.base, found.trouble) == ("v8", "")
    assert diff.counts(found.diff)[0] > 0
    assert "attention_forward" in found.files["attention.cpp"]
    assert found.score.integrity.checks
    assert "roofline" in found.profile
    assert any(e.kind == "said" for e in found.story)
    assert not failed.score.correct
    assert "is not a member" in failed.log
    assert "no v77" in none.trouble


def test_a_damaged_lineage_is_said_and_the_journal_s_diff_shown(run: RunFolder):
    import shutil

    shutil.rmtree(run.lineage / "objects")
    with Reader(run.journal) as reader:
        found = load(run, reader, Subject(version=9), "parent", None)
    assert found.trouble
    assert found.diff


def test_palettes_know_every_role_that_is_used():
    roles = set(PALETTES["dark"].roles)
    assert roles - set(PALETTES["light"].roles) == set()
    for palette in PALETTES.values():
        assert palette.style("kw+add") is not None
        assert palette.theme().name == f"avo-{palette.name}"


def test_text_colours_of_both_themes_can_be_read():
    for name in ("dark", "light", "dark256", "light256"):
        palette = PALETTES[name]
        for role, style in palette.styles.items():
            if role in ("faint", "select", "trace", "bar"):
                continue
            assert style.color is not None
            assert style.bgcolor is not None
            ratio = _contrast(style.color.get_truecolor(), style.bgcolor.get_truecolor())
            assert ratio >= (3.9 if role == "quiet" else 4.5), (name, role, ratio)


def _contrast(a, b) -> float:
    def light(c) -> float:
        parts = [(v / 255) / 12.92 if v / 255 <= 0.03928 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in c]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_every_mark_of_the_room_has_an_ascii_stand_in():
    for mark in "─│├┤●○◌■‖▲△▼▸▾✓✗≈→…·×—★◆⟳↶✎┃▌┈━╎┿−":
        assert to_ascii(mark) != "?", mark
        assert to_ascii(mark).isascii()
    assert math.isclose(len(to_ascii("▌●x")), 3)


def test_stalled_and_plateaued_are_told_apart(now: Snapshot):
    from dataclasses import replace

    assert status.progress(now) == ("", "")
    later = replace(now, taken_at=now.taken_at + 900)
    assert "stalled 15m" in status.progress(later)[0]
    flat = replace(now, versions=tuple(replace(v, verdict="matched") for v in now.versions))
    assert "plateau" in status.progress(flat)[0]
    assert status.progress(replace(later, state="paused")) == ("", "")


def test_the_money_left_is_told_in_time(now: Snapshot):
    from dataclasses import replace

    spent = replace(now, elapsed_s=1000.0, spend=replace(now.spend, usd=1.0), limits=replace(now.limits, usd=5.0))
    assert status.forecast(spent) == pytest.approx(4000.0)
    assert status.forecast(replace(spent, state="finished")) is None
    assert "lasts 1h" in plain(status.second_line(spent, 160))


def test_the_host_is_read_and_told(now: Snapshot):
    from avo_tui.model import host

    before = host.ticks()
    sum(i * i for i in range(300_000))
    seen = host.load(before, host.ticks(), gpus=(host._gpu_line("H200, 97, 61, 1755, 612.3, 71000, 143771"),),
                     apps=(("runner", "70144"),))  # fmt: skip
    text = "\n".join(plain(r.line) for r in host.host_rows(seen, "", True, 100))
    assert show.count(seen.cores, "core") in text
    assert "on it runner 70144 MiB" in text
    assert "H200: 97 % busy, 61 °C, 1755 MHz, 612.3 W" in text
    assert "cannot be seen" in plain(host.host_rows(None, "gpu7", False, 80)[0].line)


def test_only_what_is_new_and_grave_rings_and_only_while_nobody_looks(now: Snapshot):
    from dataclasses import replace

    from avo_tui.attention import Attention

    written: list[str] = []
    attention = Attention(written.append, bell=True, titled=True, ascii=False)
    attention.look(now, idle_s=1000, blurred=True)
    assert written == [f"\x1b]2;▲ no gain in 16 attempts · {now.run}\x07"], "what was there on attach does not ring"
    quiet = replace(now, alerts=())
    attention.look(quiet, idle_s=0, blurred=False)
    assert written[-1] == f"\x1b]2;{now.run} v21 1.20×\x07"
    fresh = replace(now, alerts=tuple(replace(a, alert=a.alert + 10) for a in now.alerts))
    attention.look(fresh, idle_s=5, blurred=False)
    assert "\a" not in written
    attention.look(quiet, idle_s=5, blurred=False)
    for _ in range(3):
        attention.look(replace(quiet, state="crashed"), idle_s=0, blurred=True)
    assert written.count("\a") == 1
    attention.look(
        replace(quiet, alerts=tuple(replace(a, name="a\x1b]2;b\x07c") for a in now.alerts)), idle_s=0, blurred=False
    )
    assert "\x1b" not in written[-1][1:]


def test_a_table_s_lines_are_clipped_where_text_is_wrapped():
    table_ = "kernel                 registers   shared B\nattention_forward            168          0"
    assert [width_of(((line, ""),)) for line in fold(table_, 30)] == [30, 30]
    assert len(fold("a sentence that is too long for one line", 20)) == 3


def test_moved_blanks_are_no_changed_words():
    lines = diff.parse("+++ b/x.cpp\n@@ -1 +1 @@\n-int a;  // one\n+int a;      // two")
    gone, came = (next(x for x in lines if x.kind == kind) for kind in ("del", "add"))
    assert [gone.text[a:b] for a, b in gone.words] == ["one"]
    assert [came.text[a:b] for a, b in came.words] == ["two"]


def test_scores_stand_beside_every_baseline_where_there_is_room(now: Snapshot, run: RunFolder):
    with Reader(run.journal) as reader:
        found = load(run, reader, Subject(version=21), "parent", None)
    roomy = "\n".join(plain(r.line) for r in review.bars(found, now, View(width=110, height=40)))
    tight = "\n".join(plain(r.line) for r in review.bars(found, now, View(width=110, height=14)))
    assert roomy.count("torch_sdpa") == 8
    assert roomy.count("┿") == 16 + 1
    assert tight.count("torch_sdpa") == 1
    assert "┃" in tight
    assert tight.count("┿") == 8 + 1


def test_a_badge_on_the_status_line_can_be_read():
    for palette in PALETTES.values():
        if not palette.ansi:
            style = palette.laid_over(palette.style("badge"), "bar")
            assert style.bgcolor == palette.style("badge").bgcolor


def test_every_baseline_s_label_stands_on_its_own_line(now: Snapshot):
    from dataclasses import replace

    score = now.baselines["torch_sdpa"]
    rivals = {
        name: replace(score, geomean_tflops=f) for name, f in (("slow", 0.0500), ("near", 0.0820), ("fast", 0.0830))
    }
    for height in (7, 12, 40):
        view = View(width=70, height=height)
        lines = [plain(r.line) for r in trajectory.trajectory(replace(now, baselines=rivals), view)]
        at = {name: next(i for i, line in enumerate(lines) if f" {name} " in line) for name in rivals}
        assert at["fast"] <= at["near"] <= at["slow"]
        assert at["fast"] < at["near"] or lines[at["fast"]].index("fast") < lines[at["fast"]].index("near")
