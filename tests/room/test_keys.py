"""Every key does what the help says of it."""

from __future__ import annotations

import sqlite3

import pytest
from textual import events
from textual.widgets import Input

from avo_tui import keys, prefs
from avo_tui.app import AvoApp
from avo_tui.screens.dialog import Dialog, Notice
from avo_tui.screens.direct import Direct
from avo_tui.screens.help import Help
from avo_tui.screens.limits import LimitsDialog
from avo_tui.screens.pick import Palette
from avo_tui.screens.review import ReviewScreen
from avo_tui.screens.rollback import Rollback
from avo_tui.screens.room import Room
from avo_tui.screens.search import Hits, Search
from avo_tui.widgets.bars import KeyBar, PulseBar
from avo_tui.widgets.painted import Painted
from avo_tui.widgets.pane import Pane
from avo_tui.widgets.stream import Stream
from engine.record import events as ev
from engine.record.errors import ConfigError
from engine.record.journal import Journal
from engine.record.run import RunFolder
from tests.room import long
from tests.room.pilot import answer, commands, open_room, room_of, typed, until


def test_a_capital_acts_and_a_small_letter_only_looks():
    for key in keys.TABLE:
        for name in key.keys.split(","):
            if len(name) == 1 and name.isalpha() and name not in "GN":
                assert name.isupper() == key.acts, f"{name} ({key.id})"


def test_no_key_does_two_things():
    for table in (keys.TABLE, keys.REVIEW):
        names = [name for key in table for name in key.keys.split(",")]
        assert len(names) == len(set(names))


def test_every_action_of_the_table_exists():
    for table, screen in ((keys.TABLE, Room), (keys.REVIEW, ReviewScreen)):
        for key in table:
            name = "action_" + key.action.partition("(")[0]
            assert hasattr(screen, name) or name in ("action_detach", "action_quit_twice"), f"{key.id}: {name}"


@pytest.mark.parametrize(("typed_early", "focused"), [("6", "attempts"), ("55", "commands"), ("/x\r", "scores")])
async def test_keys_that_come_before_the_room_is_whole_wait_until_it_is(
    story: RunFolder, typed_early: str, focused: str
):
    class Hasty(AvoApp):
        """Somebody types as it starts."""

        def on_mount(self) -> None:
            assert not self.ready
            assert not all(pane.is_attached for pane in room_of(self).panes.values())
            for letter in typed_early:
                name = {"\r": "enter", "/": "slash"}.get(letter, letter)
                self.post_message(events.Key(name, letter))

    app = Hasty(story)
    async with app.run_test(size=(120, 40)) as pilot:
        room = room_of(app)
        sought = "x" if focused == "scores" else ""
        await until(pilot, lambda: room.pane.id == focused and room.pane.view.filter == sought)
        await until(pilot, lambda: not room.prompt.display and room.focused is room.panes[focused])
        assert app.ready
        assert all(pane.is_attached for pane in room.panes.values())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_the_first_picture_has_everything_in_it(story: RunFolder, size: tuple[int, int]):
    seen: list[str] = []

    class Watched(AvoApp):
        """Notes what each pane shows when the first picture is there."""

        def on_mount(self) -> None:
            self.screen.call_after_refresh(self.note)

        def note(self) -> None:
            room = room_of(self)
            shown = [w for w in (*room.bars, *room.panes.values(), room.keys) if w.is_attached and w.display]
            seen.extend(f"{w.id}: {w.text()}" for w in shown)

    app = Watched(story)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: seen)
        room = room_of(app)
        await until(pilot, lambda: app.ready)
        shown = [w for w in (*room.bars, *room.panes.values(), room.keys) if w.display]
        assert seen == [f"{w.id}: {w.text()}" for w in shown]
        assert all(len(text.splitlines()) > 1 for text in seen if not text.startswith(("keys", "pulse")))


async def test_what_is_said_while_the_prompt_hides_the_line_of_keys_is_there_afterwards(story: RunFolder):
    async with open_room(story) as (app, pilot):
        await pilot.press("t")
        await typed(pilot, "nowhere")
        await pilot.press("enter")
        bar = room_of(app).keys
        await until(pilot, lambda: "'nowhere'" in bar.text() and bar.size.width)
        drawn = bar.render_lines(bar.size.region)
        assert "'nowhere'" in drawn[0].text


def test_a_person_may_move_keys_but_not_onto_each_other():
    table = keys.remapped(keys.TABLE, {"pause": "f5"}, "room.toml")
    assert next(k for k in table if k.id == "pause").keys == "f5"
    with pytest.raises(ConfigError, match="both pause and find"):
        keys.remapped(keys.TABLE, {"pause": "slash"}, "room.toml")
    with pytest.raises(ConfigError, match="no action 'jump'"):
        keys.remapped(keys.TABLE, {"jump": "j"}, "room.toml")


async def test_a_moved_key_works_and_its_old_place_does_not(run: RunFolder):
    table = keys.remapped(keys.TABLE, {"help": "f1"}, "room.toml")
    async with open_room(run, table=table) as (app, pilot):
        await pilot.press("question_mark")
        assert isinstance(app.screen, Room)
        await pilot.press("f1")
        assert isinstance(app.screen, Help)


async def test_pause_sends_one_command_and_its_life_is_shown(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("P")
        await until(pilot, lambda: commands(run))
        (command,) = commands(run)
        assert (command.verb, command.state, command.person) == ("pause", "sent", "grace")
        assert command.issued_seq == app.snapshot.last_seq
        answer(run, ev.CommandChanged(command.command, "pause", "applied", "grace"), ev.StateChanged("paused", "grace"))
        await until(pilot, lambda: app.snapshot.state == "paused")
        await pilot.press("P")
        await until(pilot, lambda: len(commands(run)) == 2)
        assert commands(run)[-1].verb == "resume"


async def test_a_wait_is_cut_short_and_the_key_for_it_is_offered_only_then(run: RunFolder):
    async with open_room(run) as (app, pilot):
        bar = room_of(app).query_one(KeyBar)
        await pilot.press("W")
        assert "does not wait" in app.message[0][0]
        assert "wait no longer" not in bar.text()
        doing(run, "waiting 568s: the server asked for patience")
        await until(pilot, lambda: app.snapshot.activity.startswith("waiting"))
        app.message = ()
        app._tick()
        assert "W wait no longer" in bar.text()
        await pilot.press("W")
        await until(pilot, lambda: commands(run))
        room_of(app).obey("command", "resume")
        await until(pilot, lambda: len(commands(run)) == 2)
        assert {c.verb for c in commands(run)} == {"resume"}


async def test_what_waits_for_a_person_s_files_is_no_wait_to_cut_short(run: RunFolder):
    async with open_room(run) as (app, pilot):
        doing(run, "waiting 568 s for job-7.json in spool")
        await until(pilot, lambda: app.snapshot.activity.startswith("waiting"))
        assert "wait no longer" not in room_of(app).query_one(KeyBar).text()


async def test_a_finished_run_offers_nothing_that_steers_it(run: RunFolder):
    answer(run, ev.StateChanged("finished", "the limit of 60 minutes is reached"))
    async with open_room(run, (80, 24)) as (app, pilot):
        await until(pilot, lambda: app.snapshot.state == "finished")
        shown = "\n".join(bar.text() for bar in room_of(app).query(Painted) if bar.id in ("alerts", "keys"))
        assert "acknowledge" not in shown
        assert "pause" not in shown
        await pilot.press("ctrl+p")
        rows = app.screen.query_one("#palette-list", Pane).rows
        named = [k for row in rows for k in keys.TABLE if k.id == row.key]
        assert [k.acts for k in named] == sorted(k.acts for k in named)
        assert all(rows[named.index(k)].line[0][1] == "dim" for k in named if k.acts)
        await pilot.press("escape", "3", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))
        assert "roll back" not in app.screen.query_one(KeyBar).text()


async def test_a_paused_run_offers_to_resume(run: RunFolder):
    answer(run, ev.StateChanged("paused", "asked by ada"))
    async with open_room(run) as (app, pilot):
        await until(pilot, lambda: app.snapshot.state == "paused")
        assert "P resume" in room_of(app).query_one(KeyBar).text()


def doing(run: RunFolder, activity: str) -> None:
    """What the engine says it is doing."""
    with Journal.open(run.journal) as journal:
        journal.live("activity", activity)


async def test_below_a_dialog_only_what_is_grave_is_shown_at_once(run: RunFolder):
    async with open_room(run) as (app, pilot):
        pulse, transcript = room_of(app).query_one("#pulse", PulseBar), room_of(app).panes["transcript"]
        await until(pilot, lambda: app.snapshot.last_seq)
        await pilot.press("a")
        answer(run, ev.Said("first words below", 1))
        await until(pilot, lambda: "first words below" in str(app.snapshot.tail[-1]))
        answer(run, ev.Said("words below a dialog", 1))
        await until(pilot, lambda: "words below a dialog" in str(app.snapshot.tail[-1]))
        assert "words below a dialog" not in transcript.text()
        answer(run, ev.StateChanged("paused", "asked by ada"))
        await until(pilot, lambda: "words below a dialog" in transcript.text())
        answer(run, ev.Said("the last words", 1))
        await until(pilot, lambda: "the last words" in str(app.snapshot.tail[-1]))
        await pilot.press("escape")
        await until(pilot, lambda: "the last words" in transcript.text())
        assert "LIVE" in pulse.text()


async def test_halt_interrupts(run: RunFolder):
    async with open_room(run) as (_, pilot):
        await pilot.press("H")
        await until(pilot, lambda: commands(run))
        assert commands(run)[0].verb == "interrupt"


async def test_a_direction_is_previewed_before_it_is_sent(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("I")
        assert isinstance(app.screen, Direct)
        await typed(pilot, "pack K")
        await pilot.press("enter")
        await typed(pilot, "then V")
        assert not commands(run)
        await pilot.press("ctrl+s")
        assert not commands(run)
        await pilot.press("enter")
        await until(pilot, lambda: commands(run))
        assert commands(run)[0].arguments == {"text": "pack K\nthen V"}


async def test_an_empty_direction_is_not_sent(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("I", "ctrl+s", "enter")
        assert isinstance(app.screen, Direct)
        await pilot.press("escape")
        assert isinstance(app.screen, Room)
        assert not commands(run)


async def test_a_direction_may_come_from_a_file_or_from_earlier_ones(run: RunFolder):
    (run.path / "idea.txt").write_text("two heads per thread\n")
    async with open_room(run) as (app, pilot):
        await pilot.press("I", "ctrl+r")
        screen = app.screen
        assert isinstance(screen, Direct)
        assert screen.area.text.startswith("Try a degree-5 polynomial")
        await pilot.press("ctrl+o")
        screen.query_one("#path").value = str(run.path / "idea.txt")  # type: ignore[attr-defined]
        await pilot.press("enter")
        assert screen.area.text == "two heads per thread\n"


async def test_a_draft_survives_escape(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("I")
        await typed(pilot, "half an idea")
        await pilot.press("escape")
        await pilot.press("I")
        assert isinstance(app.screen, Direct)
        assert app.screen.area.text == "half an idea"


async def test_a_roll_back_needs_its_version_typed(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("3", "j", "j", "R")
        dialog = app.screen
        assert isinstance(dialog, Rollback)
        target = dialog.target.version
        assert target == 19
        await until(pilot, lambda: dialog._ready)
        assert app.focused is not None
        assert app.focused.id == "cancel"
        await pilot.press("tab")
        await typed(pilot, "v3")
        await pilot.press("enter")
        assert not commands(run)
        await pilot.press("backspace", "backspace")
        await typed(pilot, "v19")
        await pilot.press("enter")
        await until(pilot, lambda: commands(run))
        assert (commands(run)[0].verb, commands(run)[0].arguments) == ("rollback", {"version": 19})


async def test_keys_that_were_typed_ahead_do_not_answer_a_dialog(run: RunFolder):
    async with open_room(run, grace_s=600.0) as (app, pilot):
        await pilot.press("R", "tab", "v", "2", "0", "enter", "enter")
        assert isinstance(app.screen, Rollback)
        assert not commands(run)


async def test_enter_on_a_fresh_dialog_cancels(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("R")
        dialog = app.screen
        assert isinstance(dialog, Rollback)
        await until(pilot, lambda: dialog._ready)
        await pilot.press("enter")
        assert isinstance(app.screen, Room)
        assert not commands(run)


async def test_a_withdrawn_version_is_no_target(run: RunFolder):
    async with open_room(run) as (app, pilot):
        room = room_of(app)
        await pilot.press("3")
        assert room.panes["versions"].select(11)
        await pilot.press("R")
        assert isinstance(app.screen, Room)
        assert "withdrawn" in app.message[0][0]


async def test_undo_first_cancels_a_waiting_command_then_offers_the_roll_back(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("P")
        await until(pilot, lambda: any(c.state == "sent" for c in app.snapshot.commands))
        await pilot.press("Z")
        await until(pilot, lambda: len(commands(run)) == 2)
        assert (commands(run)[1].verb, commands(run)[1].arguments) == ("cancel", {"command": commands(run)[0].command})
        for c in commands(run):
            answer(run, ev.CommandChanged(c.command, c.verb, "applied", "grace"))
        await until(pilot, lambda: all(c.state in ("applied", "refused") for c in app.snapshot.commands))
        await pilot.press("Z")
        dialog = app.screen
        assert isinstance(dialog, Dialog)
        await until(pilot, lambda: dialog._ready)
        await pilot.press("tab", "enter")
        await until(pilot, lambda: len(commands(run)) == 3)
        assert commands(run)[-1].verb == "undo"


async def test_acknowledge_takes_the_gravest_alert_or_the_selected_one(run: RunFolder):
    async with open_room(run) as (_app, pilot):
        await pilot.press("A")
        await until(pilot, lambda: commands(run))
        assert commands(run)[0].arguments == {"alert": 2}
        await pilot.press("5", "j", "A")
        await until(pilot, lambda: len(commands(run)) == 2)
        assert commands(run)[1].arguments == {"alert": 3}


async def test_pin_and_veto_take_the_selected_direction(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("K")
        assert "select a direction" in app.message[0][0]
        await pilot.press("7", "K", "V")
        await until(pilot, lambda: len(commands(run)) == 2)
        assert [c.verb for c in commands(run)] == ["pin", "veto"]
        assert commands(run)[0].arguments["direction"]


async def test_limits_send_only_what_changed(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("L")
        dialog = app.screen
        assert isinstance(dialog, LimitsDialog)
        await until(pilot, lambda: dialog._ready)
        field = dialog.query_one("#minutes")
        field.value = "x"  # type: ignore[attr-defined]
        dialog.accept()
        assert isinstance(app.screen, LimitsDialog)
        field.value = "90"  # type: ignore[attr-defined]
        dialog.query_one("#usd").value = ""  # type: ignore[attr-defined]
        dialog.accept()
        await until(pilot, lambda: commands(run))
        assert commands(run)[0].arguments == {"minutes": 90.0, "usd": None}


async def test_stopping_needs_the_run_s_name(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("X")
        dialog = app.screen
        assert isinstance(dialog, Dialog)
        await until(pilot, lambda: dialog._ready)
        await pilot.press("tab")
        await typed(pilot, run.name)
        await pilot.press("enter")
        await until(pilot, lambda: commands(run))
        assert commands(run)[0].verb == "stop"


async def test_read_only_disables_every_capital_and_says_so(run: RunFolder):
    async with open_room(run, readonly=True) as (app, pilot):
        for key in (k for k in keys.TABLE if k.acts):
            app.message = ()
            await pilot.press(key.keys)
            assert isinstance(app.screen, Room), key.id
            assert "read-only" in app.message[0][0], key.id
        assert not commands(run)


async def test_the_past_and_a_dead_engine_cannot_be_steered(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.snapshot.at is not None)
        await pilot.press("P")
        assert "past" in app.message[0][0]
        await pilot.press("f")
        await until(pilot, lambda: app.snapshot.at is None)
    assert not commands(run)


async def test_view_keys_show_and_focus_their_panes_at_every_size(run: RunFolder):
    for size in ((80, 24), (120, 40), (200, 60)):
        async with open_room(run, size) as (app, pilot):
            for number, pane in enumerate(
                ("scores", "transcript", "versions", "output", "supervisor", "attempts", "context"), 1
            ):
                await pilot.press(str(number))
                assert room_of(app).pane.id == pane, (size, number)
                assert room_of(app).pane.display
            await pilot.press("5", "5")
            assert room_of(app).pane.id == "commands"


async def test_a_key_right_after_a_view_s_number_finds_its_rows(run: RunFolder):
    async with open_room(run, (80, 24)) as (app, pilot):
        room_of(app).action_view(3)
        room_of(app).action_open()
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))


async def test_only_the_pane_that_keys_go_to_carries_the_accent(run: RunFolder):
    async with open_room(run) as (app, pilot):
        for key in ("3", "3", "2", "1", "5", "tab"):
            await pilot.press(key)
            shown = [pane for pane in room_of(app).panes.values() if pane.display]
            marked = [pane.id for pane in shown if "▌" in pane.text().split("\n")[0][:3]]
            assert marked == [room_of(app).pane.id], key


async def test_tab_goes_round_the_visible_panes(run: RunFolder):
    async with open_room(run) as (app, pilot):
        seen = []
        for _ in range(5):
            seen.append(room_of(app).pane.id)
            await pilot.press("tab")
        assert room_of(app).pane.id == seen[0]
        assert len(set(seen)) == 5
        await pilot.press("shift+tab")
        assert room_of(app).pane.id == seen[-1]


async def test_zoom_fills_the_room_and_reset_brings_everything_back(run: RunFolder):
    async with open_room(run) as (app, pilot):
        room = room_of(app)
        await pilot.press("2", "plus")
        assert [p for p in room.panes if room.panes[p].display] == ["transcript"]
        await pilot.press("underscore")
        assert len([p for p in room.panes if room.panes[p].display]) == 5
        await pilot.press("plus", "0")
        assert len([p for p in room.panes if room.panes[p].display]) == 5


async def test_a_stream_stops_following_when_scrolled_and_counts_what_is_new(run: RunFolder):
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        assert isinstance(talk, Stream)
        await pilot.press("2", "k", "k", "k")
        assert not talk.following
        before = talk.text().splitlines()[1:15]
        answer(run, ev.Said("something new", 99), ev.Said("and more", 99))
        await until(pilot, lambda: talk.unseen == 2)
        assert talk.text().splitlines()[1:15] == before
        assert "+2 new" in talk.text()
        await pilot.press("G")
        assert talk.following
        assert "and more" in talk.text()


async def test_the_transcript_loads_older_events_at_its_top(run: RunFolder):
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        assert isinstance(talk, Stream)
        await pilot.press("2")
        first = talk.blocks[0].seq
        for _ in range(8):
            await pilot.press("g")
        assert talk.blocks[0].seq < first
        assert "started mha_cpu" in talk.text()


async def test_space_unfolds_and_folds_a_block(run: RunFolder):
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        await pilot.press("2", "space")
        unfolded = talk.text()
        assert "│" in unfolded
        await pilot.press("space")
        assert talk.text() != unfolded


async def test_find_goes_from_match_to_match(run: RunFolder):
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        await pilot.press("2", "slash")
        await typed(pilot, "huge pages")
        await pilot.press("enter")
        first = talk.cursor
        assert first is not None
        await pilot.press("n")
        assert talk.cursor == first, "there is one match, and the next one is the same"
        await pilot.press("N")
        assert "huge pages" in talk.text()
        await pilot.press("escape")
        assert not talk.view.filter


async def test_a_filter_keeps_rows_while_it_is_typed(run: RunFolder):
    async with open_room(run) as (app, pilot):
        tries = room_of(app).panes["attempts"]
        await pilot.press("6", "slash")
        await typed(pilot, "crash")
        assert {"crash" in str(tries.row(i).line) for i in range(tries.count())} == {True}
        await pilot.press("escape")
        assert tries.view.filter == ""
        assert tries.count() == 66


async def test_a_narrow_head_names_the_filter_and_shortens_the_other_views(run: RunFolder):
    async with open_room(run, size=(80, 24)) as (app, pilot):
        tries = room_of(app).panes["attempts"]
        await pilot.press("6")
        await until(pilot, lambda: "7 Context" in tries.text().splitlines()[0])
        await pilot.press("slash")
        await typed(pilot, "crash")
        await until(pilot, lambda: "/crash" in tries.text().splitlines()[0])
        assert "6 Attempts" in tries.text().splitlines()[0]


def at_once(app: AvoApp, *keys: str) -> None:
    """Press keys as fast as a paste."""
    named = {"enter": "\r", "escape": "\x1b", "space": " ", "slash": "/", "colon": ":"}
    for key in keys:
        app.post_message(events.Key(key, named.get(key, key)))


async def test_keys_that_come_at_once_go_where_the_ones_before_them_led(run: RunFolder):
    async with open_room(run) as (app, pilot):
        room = room_of(app)
        at_once(app, "t", "v", "7", "enter", "5")
        await until(pilot, lambda: app.snapshot.head == 7)
        await until(pilot, lambda: room.number == 5)
        assert room.query_one(Input).value == "v7"
        at_once(app, "6", "enter", "escape", "t", "v", "1", "2", "enter", "6", "enter")
        await until(pilot, lambda: app.snapshot.head == 12 and isinstance(app.screen, ReviewScreen))
        assert room.number == 6
        at_once(app, "slash", "c", "o", "n", "s", "t", "enter")
        await until(pilot, lambda: [i.value for i in app.screen.query(Input)] == ["const"])
        at_once(app, "escape", "escape", "colon", "g", "o", "space", "v", "8", "enter", "1")
        await until(pilot, lambda: app.snapshot.head == 8 and room.number == 1)


async def test_a_key_whose_pane_is_gone_holds_up_the_next_ones_only_for_a_moment(run: RunFolder):
    async with open_room(run) as (app, pilot):
        pane = room_of(app).pane
        pane.on_key = lambda event: pane.remove()  # type: ignore[method-assign]
        at_once(app, "x", "6", "t", "v", "7", "enter")
        await until(pilot, lambda: app.snapshot.head == 7)
        assert room_of(app).number == 6


async def test_the_filter_of_attempts_looks_through_the_whole_run_and_its_diffs(run: RunFolder, tmp_path):
    busy = long.write(tmp_path / "busy", 4000, attempts=2000)
    with sqlite3.connect(busy.journal) as db:  # a word that only one diff has, far beyond what is loaded
        number = 31
        db.execute("INSERT INTO search_attempts (rowid, title, body) VALUES (?, ?, ?)", (number, "x", "quicksilver"))
    db.close()
    async with open_room(busy) as (app, pilot):
        tries = room_of(app).panes["attempts"]
        await pilot.press("6")
        assert tries.count() == 600
        await pilot.press("G")
        assert tries.count() == 1200
        await pilot.press("slash")
        await typed(pilot, "quicksilver")
        await until(pilot, lambda: [tries.row(i).key for i in range(tries.count())] == [("attempt", number)])
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))


async def test_order_sorts_the_scores_by_their_ratio(run: RunFolder):
    async with open_room(run) as (app, pilot):
        scores = room_of(app).panes["scores"]
        given = [scores.row(i).key for i in range(scores.count())]
        await pilot.press("1", "o")
        assert [scores.row(i).key for i in range(scores.count())] != given
        assert scores.row(1).key == "full_2048"


async def test_enter_opens_a_review_and_escape_comes_back(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("3", "j", "enter")
        review = app.screen
        assert isinstance(review, ReviewScreen)
        assert review.subject.version == 20
        await until(pilot, lambda: review.review is not None)
        await pilot.press("less_than_sign")
        assert review.subject.version == 19
        await pilot.press("escape")
        assert isinstance(app.screen, Room)
        await pilot.press("6", "d")
        assert isinstance(app.screen, ReviewScreen)
        assert app.screen.subject.attempt == 66


async def test_brackets_step_by_attempts_and_angles_by_versions(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("less_than_sign")
        await until(pilot, lambda: app.snapshot.at is not None)
        assert app.snapshot.head == app.snapshot.versions[-1].version == 21
        await pilot.press("less_than_sign")
        await until(pilot, lambda: app.snapshot.versions[-1].version == 20)
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: app.snapshot.attempts == 57 or app.snapshot.attempts == 58)
        at = app.snapshot.at
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: app.snapshot.at != at)
        await pilot.press("escape")
        await until(pilot, lambda: app.snapshot.at is None)


async def test_goto_understands_versions_attempts_and_times(run: RunFolder):
    async with open_room(run) as (app, pilot):
        for text, true in (
            ("v7", lambda: app.snapshot.head == 7),
            ("a30", lambda: app.snapshot.attempts == 30),
            ("+5m", lambda: abs(app.snapshot.elapsed_s - 300) < 30),
            ("now", lambda: app.snapshot.at is None),
        ):
            await pilot.press("t")
            await typed(pilot, text)
            await pilot.press("enter")
            await until(pilot, true)
        room_of(app).obey("goto", "v99")
        assert "no v99" in app.message[0][0]
        room_of(app).obey("goto", "noon")
        assert "cannot go to" in app.message[0][0]


async def test_the_palette_finds_an_action_by_a_few_letters(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("ctrl+p")
        assert isinstance(app.screen, Palette)
        await typed(pilot, "zoom: ")
        await pilot.press("enter")
        await until(pilot, lambda: room_of(app).zoomed)


async def test_typed_commands_do_what_keys_do(run: RunFolder):
    async with open_room(run) as (app, pilot):
        room = room_of(app)
        room.obey("command", "pause")
        await until(pilot, lambda: commands(run))
        room.obey("command", "rollback v3")
        await pilot.pause()
        assert isinstance(app.screen, Rollback)
        assert app.screen.target.version == 3
        await pilot.press("escape")
        room.obey("command", "theme light")
        assert app.palette.name == "light"
        for text, why in (
            ("fly", "no command"),
            ("theme pink", "themes are"),
            ("rollback v99", "no v99"),
            ("open x", ":open"),
        ):
            room.obey("command", text)
            assert why in app.message[0][0]


async def test_tab_completes_a_command_and_leaves_the_prompt_where_it_is(run: RunFolder):
    async with open_room(run) as (app, pilot):
        field = room_of(app).prompt.query_one(Input)
        await pilot.press("colon")
        for letters, completed in (("re", "res"), ("u", "resume "), ("nothing", "resume nothing")):
            await typed(pilot, letters)
            await pilot.press("tab")
            assert field.value == completed
            assert app.focused is field
        await pilot.press("escape", "slash", "tab")
        assert field.value == ""


async def test_away_tells_what_happened(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("a")
        assert isinstance(app.screen, Notice)
        await pilot.press("enter")
        assert isinstance(app.screen, Room)


@pytest.mark.parametrize(("size", "first"), [((30, 8), Room), ((80, 24), Notice)])
async def test_what_happened_meanwhile_is_told_first_where_it_fits(run: RunFolder, size, first):
    prefs.remember_look(run.path, 1, 0.0)
    async with open_room(run, size) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, first))
        for _ in range(5):
            await pilot.pause()
        assert isinstance(app.screen, first)


async def test_copy_writes_a_file_as_well(run: RunFolder, home):
    async with open_room(run) as (_, pilot):
        await pilot.press("3", "y")
        assert "v21" in (home / "state" / "avo" / "copied.txt").read_text()


async def test_save_writes_text_and_a_picture(run: RunFolder, home):
    async with open_room(run) as (_, pilot):
        await pilot.press("1", "s")
        files = sorted(p.suffix for p in (home / "state" / "avo" / "saved").iterdir())
        assert files == [".svg", ".txt"]


async def test_marking_a_version_makes_reviews_compare_with_it(run: RunFolder):
    async with open_room(run) as (app, pilot):
        room = room_of(app)
        await pilot.press("3")
        room.panes["versions"].select(5)
        await pilot.press("m")
        assert app.marked == 5
        assert "marked" in room.panes["versions"].text()
        room.panes["versions"].select(9)
        await pilot.press("enter")
        review = app.screen
        assert isinstance(review, ReviewScreen)
        await until(pilot, lambda: review.review is not None)
        for base in ("v0", "v21", "v5", "v8"):
            await pilot.press("b")
            await until(pilot, lambda base=base: review.review is not None and review.review.base == base)


async def test_help_lists_every_key(run: RunFolder):
    async with open_room(run, (200, 60)) as (app, pilot):
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        pane = app.screen.query_one("#help-pane")
        text = pane.text()  # type: ignore[attr-defined]
        for key in keys.TABLE:
            if not key.id.startswith("view") or key.id == "view1":
                assert key.help[:30] in text, key.id


async def test_detach_leaves_and_so_does_ctrl_c_twice(run: RunFolder):
    async with open_room(run) as (app, pilot):
        await pilot.press("ctrl+c")
        assert app.is_running
        assert "once more" in app.message[0][0]
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert app.return_value == 0
    async with open_room(run) as (app, pilot):
        await pilot.press("q")
        await pilot.pause()
        assert app.return_value == 0
    assert not commands(run)


async def test_find_reaches_what_was_never_loaded(run: RunFolder):
    answer(run, *(ev.Said(f"filler {i}", 1) for i in range(1500)))
    async with open_room(run) as (app, pilot):
        talk = room_of(app).panes["transcript"]
        assert isinstance(talk, Stream)
        await pilot.press("2", "slash")
        await typed(pilot, "busy-wait barrier")
        await pilot.press("enter")
        assert talk.detached
        assert "usy-wait barrier between heads" in talk.text()
        answer(run, ev.Said("while you look elsewhere", 1))
        await pilot.pause(0.5)
        assert "while you look elsewhere" not in talk.text()
        await pilot.press("escape", "G")
        assert not talk.detached
        assert "while you look elsewhere" in talk.text()


async def test_search_finds_words_anywhere_and_goes_there(run: RunFolder):
    async with open_room(run) as (app, pilot):
        for words in ("huge pages", "incumbent spends transpose"):
            await pilot.press("ctrl+f")
            search = app.screen
            assert isinstance(search, Search)
            await typed(pilot, words)
            await until(pilot, lambda search=search, words=words: search.found == words)
            assert search.query_one(Hits).hits
            await pilot.press("enter")
            await until(pilot, lambda search=search: app.screen is not search)
            if isinstance(app.screen, ReviewScreen):
                await pilot.press("escape")
        talk = room_of(app).panes["transcript"]
        await until(pilot, lambda: "transpose" in talk.text().lower())


async def test_a_replay_plays_the_run_from_its_start_and_can_be_held(run: RunFolder):
    async with open_room(run, replay=600) as (app, pilot):
        seen: list[int] = []

        def grown() -> bool:
            if app.snapshot.at is not None:
                seen.append(len(app.snapshot.versions))
            return len(app.snapshot.versions) >= 8 and app.snapshot.at is not None

        await until(pilot, grown)
        assert seen == sorted(seen)
        assert min(seen) < 8
        await pilot.press("p")
        assert not app.player.playing
        at = app.asked
        await pilot.pause(0.5)
        assert app.asked == at
        await pilot.press("right_curly_bracket", "p")
        assert app.player.speed == 1800
        await until(pilot, lambda: not app.player.playing, 20)
        await pilot.press("f")
        await until(pilot, lambda: app.snapshot.at is None)


async def test_the_mouse_picks_tabs_and_rows_and_scrolls(run: RunFolder):
    async with open_room(run, (80, 24)) as (app, pilot):
        room = room_of(app)
        await pilot.click("#scores", offset=(20, 0))
        await until(pilot, lambda: room.number == 2)
        await pilot.press("6")
        pane = room.panes["attempts"]
        await pilot.click("#attempts", offset=(10, 4))
        assert pane.chosen() == ("attempt", 63)
        await pilot.click("#attempts", offset=(10, 4), times=2)
        await until(pilot, lambda: isinstance(app.screen, ReviewScreen))


async def test_a_review_s_help_lists_the_review_s_keys_and_e_opens_the_file_under_the_cursor(run: RunFolder):
    async with open_room(run, (200, 60)) as (app, pilot):
        await pilot.press("3", "enter")
        review = app.screen
        assert isinstance(review, ReviewScreen)
        await until(pilot, lambda: review.review is not None and review.review.colours)
        assert review._file_here() == "attention.cpp"
        await pilot.press("question_mark")
        text = app.screen.query_one("#help-pane").text()  # type: ignore[attr-defined]
        assert "compare with the parent" in text
        assert "Travel in time" not in text
