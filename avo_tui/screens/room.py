"""The room: every pane of one run, laid out by the floor plan, steered by the key table."""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Sequence
from dataclasses import replace
from textwrap import wrap

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.screen import Screen
from textual.widget import Widget

from avo_tui.keys import MOVE, PAST, TABLE, Key
from avo_tui.model import plan, status, steering, travel
from avo_tui.model.lines import Line
from avo_tui.model.snapshot import Snapshot
from avo_tui.model.view import View
from avo_tui.screens.acting import Acting
from avo_tui.widgets.bars import AlertBar, KeyBar, PulseBar, StatusBar
from avo_tui.widgets.compositor import Sparing
from avo_tui.widgets.painted import Painted, Painting
from avo_tui.widgets.pane import Pane
from avo_tui.widgets.prompt import Prompt
from avo_tui.widgets.stream import Output, Stream, Transcript
from avo_tui.widgets.tables import Attempts, Commands, Context, Scores, Supervisor, Trajectory, Versions
from engine.record import events as ev
from engine.record.errors import AvoError, UsageError

_PANES: dict[str, type[Pane]] = {
    "scores": Scores,
    "transcript": Transcript,
    "trajectory": Trajectory,
    "versions": Versions,
    "output": Output,
    "supervisor": Supervisor,
    "commands": Commands,
    "attempts": Attempts,
    "context": Context,
}


class TooSmall(Painted):
    """What is shown when the room does not fit."""

    def paint(self, width: int, height: int) -> Sequence[Painting]:
        """Say how large the terminal must be."""
        text = f"{width}×{height} is too small: enlarge to {plan.MIN_WIDTH}×{plan.MIN_HEIGHT}"
        said = ((text, "warn"), ("q detaches; the run goes on", "dim"))
        lines = [(f" {part}", role) for words, role in said for part in wrap(words, max(width - 1, 1))]
        return [(((part, role),), "") for part, role in lines][:height]


class _Floor(Layout):
    """Places the room's widgets where the floor plan says."""

    name = "floor"

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        """Regions for the widgets that are shown."""
        assert isinstance(parent, Room)
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child, 0)
            for child in children
            if (region := parent.regions(size).get(child.id or "")) is not None
        ]


class Room(Acting, Screen[None]):
    """The control room's main screen."""

    BINDINGS = [Binding(k.keys, k.action, k.help, id=k.id, show=False) for k in TABLE if k.id != "interrupt"]  # noqa: RUF012
    AUTO_FOCUS = None

    def __init__(self) -> None:
        super().__init__()
        self._compositor = Sparing()
        self.number = 1
        self.zoomed = ""
        self.panes: dict[str, Pane] = {name: make(name) for name, make in _PANES.items()}
        self._floor = _Floor()
        self._shape: object = None
        self._shown: frozenset[str] = frozenset()
        self._wanted: object = None
        self._hinted: object = None
        self.bars = (StatusBar(id="status"), PulseBar(id="pulse"))
        self.alerts, self.keys = AlertBar(id="alerts"), KeyBar(id="keys")
        self._prompt = Prompt(id="prompt")
        self._prompt.display = False
        self._parts = (*self.bars, self.alerts, *self.panes.values(), self.keys, self._prompt, TooSmall(id="small"))

    @property
    def layout(self) -> Layout:
        """The floor plan."""
        return self._floor

    def compose(self) -> ComposeResult:
        """What is seen at first: making the rest, mostly half of it, would only hold up the first picture."""
        size = self.app.size
        shown = self.regions(size)
        yield from (part for part in self._parts if part.id in shown or plan.too_small(*size))

    def on_mount(self) -> None:
        """Show the first moment at once."""
        self.arrange_panes()
        self.show_moment(self.avo.snapshot)
        self.focus_pane("scores" if self.panes["scores"].display else self._visible()[0])
        self.call_after_refresh(self._complete)

    async def _complete(self) -> None:
        """Make what is not seen yet, and then take keys."""
        rest = [part for part in self._parts if not part.is_attached]
        for part in rest:
            part.display = part.id in self._shown
        await self.mount(*rest)
        self.avo.ready = True

    # Layout.

    @property
    def prompt(self) -> Prompt:
        """The line where `/`, `:` and `t` are typed."""
        return self._prompt

    def alert_count(self, size: Size) -> int:
        """How many alert lines there are: none when all is quiet."""
        most = 1 if size.width < plan.MID else 2
        return min(len(self.avo.snapshot.open_alerts), most)

    def placed(self, size: Size) -> list[plan.Placed]:
        """The panes' places within the body."""
        body = size.height - 3 - self.alert_count(size)
        return plan.plan(size.width, body, self.number, zoom=self.zoomed, scores=self._score_rows())

    def _score_rows(self) -> int:
        known = self.avo.snapshot
        best = known.incumbent.score.configurations if known.incumbent else ()
        return max(len(best), 1) + 2

    def regions(self, size: Size) -> dict[str, Region]:
        """Where each widget lies, by id."""
        if plan.too_small(*size):
            return {"small": Region(0, 0, size.width, size.height)}
        alerts = self.alert_count(size)
        top = 2 + alerts
        found = {p.pane: Region(p.x, p.y + top, p.width, p.height) for p in self.placed(size)}
        pulse = status.right_width(size.width, readonly=self.avo.readonly)
        found["status"] = Region(0, 0, size.width - pulse, 2)
        found["pulse"] = Region(size.width - pulse, 0, pulse, 2)
        found["alerts"] = Region(0, 2, size.width, alerts)
        last = "prompt" if self.prompt.display else "keys"
        found[last] = Region(0, size.height - 1, size.width, 1)
        return {name: region for name, region in found.items() if region.area}

    def arrange_panes(self) -> None:
        """Tell every widget whether and how it is shown; lays out again only when that changed."""
        size = self.app.size
        wanted = (size, self.alert_count(size), self.number, self.zoomed, self._score_rows(), self.prompt.display)
        if wanted == self._wanted:
            return
        self._wanted = wanted
        shown = self.regions(size)
        placed = {p.pane: p for p in self.placed(size)}
        shape = (tuple(shown.items()), tuple(placed.items()))
        if shape == self._shape:
            return
        self._shape, self._shown = shape, frozenset(shown)
        for child in {*self.children, *self._parts}:
            if child.id != "prompt":
                child.display = (child.id or "") in shown
        for name, p in placed.items():
            pane = self.panes[name]
            pane.expect(p.width, p.height)
            if (pane.tabs, pane.edge) != (p.tabs, p.edge):
                pane.tabs, pane.edge = p.tabs, p.edge
                pane.repaint(everything=True)
        self.panes["scores"].refresh(layout=True)  # a screen's own refresh keeps its old arrangement
        focused = self.focused
        if isinstance(focused, Pane) and not focused.display and (seen := self._visible()):
            self.focus_pane(seen[0])

    def on_resize(self, event: events.Resize) -> None:
        """Another size may be another layout."""
        self.arrange_panes()

    def _visible(self) -> list[str]:
        return [p.pane for p in self.placed(self.app.size)]

    def focus_pane(self, name: str) -> None:
        """Focus a pane that is shown; at once, since the next key may already wait."""
        self.set_focus(self.panes[name], scroll_visible=False)

    # Moments.

    def show_moment(self, snapshot: Snapshot) -> None:
        """Show a moment in every visible widget."""
        self.arrange_panes()
        for bar in (*self.bars, self.alerts):
            bar.show(snapshot)
        marked = self.avo.marked
        for name, pane in self.panes.items():
            if pane.view.marked != marked:
                pane.view = replace(pane.view, marked=marked)
            if name in self._shown:
                pane.show(snapshot)
            else:
                pane.snapshot = snapshot
        self._show_keys()

    def tick(self) -> None:
        """The clock moved on."""
        for pane in self.panes.values():
            if isinstance(pane, Stream) and pane.display:
                pane.settle()
        self._show_keys()

    def _show_keys(self) -> None:
        message: Line = self.avo.message or steering.latest(self.avo.snapshot, self.avo.client)
        s = self.avo.snapshot
        offered = (s.at is None, s.state, steering.waits(s), bool(s.alerts), len(s.active))
        here = (self.focused.id if self.focused else "", message, self.app.size, offered)
        if here != self._hinted:
            self._hinted = here
            self.keys.show(self._hints(), message)

    def _hints(self) -> list[Key]:
        here = self.focused.id if isinstance(self.focused, Pane) else ""
        wanted = (k for k in self.avo.keys if k.hint and (not k.panes or here in k.panes))
        keys = [self.avo.named(k) for k in wanted if self.avo.offers(k)]
        keys.sort(key=lambda k: (not k.panes, k.id not in ("help",)))
        if self.steerable():
            return keys
        known = {k.id: k for k in self.avo.keys}
        past = PAST if self.avo.snapshot.at is not None else PAST[1:]
        times = [replace(known[id], hint=word, shown=shown) for id, word, shown in past]
        return [*times, *(k for k in keys if k.id not in {t.id for t in times})]

    def on_descendant_focus(self) -> None:
        """Other panes have other keys."""
        self._show_keys()

    # What is under the cursor.

    def chosen_version(self) -> int | None:
        """The selected version, where the versions pane has the focus."""
        key = self.panes["versions"].chosen()
        return key if self.pane.id == "versions" and isinstance(key, int) else None

    def chosen_alert(self) -> int | None:
        """The selected alert."""
        key = self.panes["supervisor"].chosen()
        return key[1] if self.pane.id == "supervisor" and isinstance(key, tuple) and key[0] == "alert" else None

    def chosen_direction(self) -> str | None:
        """The selected direction."""
        key = self.panes["context"].chosen()
        return key[1] if self.pane.id == "context" and isinstance(key, tuple) and key[0] == "direction" else None

    # Panes.

    @property
    def pane(self) -> Pane:
        """The focused pane."""
        return self.focused if isinstance(self.focused, Pane) else self.panes[self._visible()[0]]

    def action_view(self, number: int) -> None:
        """Show a view and focus its first pane; its number again goes on to its next pane."""
        names = plan.turns(number)
        if self.number == number and self.pane.id in names:
            at = names.index(str(self.pane.id)) + 1
            names = names[at:] + names[:at]
        self.number, self.zoomed = number, ""
        self.arrange_panes()
        self.show_moment(self.avo.snapshot)
        self.focus_pane(next(n for n in names if self.panes[n].display))

    def action_focus_pane(self, by: int) -> None:
        """The next or previous visible pane."""
        seen = self._visible()
        here = seen.index(str(self.pane.id)) if self.pane.id in seen else 0
        self.focus_pane(seen[(here + by) % len(seen)])

    def action_zoom(self, by: int) -> None:
        """The focused pane fills the room, or no longer."""
        self.zoomed = str(self.pane.id) if by > 0 else ""
        self.arrange_panes()
        self.show_moment(self.avo.snapshot)

    def action_reset(self) -> None:
        """The usual layout, no filters, following."""
        self.zoomed, self.number = "", 1
        for pane in self.panes.values():
            pane.view = View(marked=pane.view.marked)
            if isinstance(pane, Stream):
                pane.follow()
        self.arrange_panes()
        self.show_moment(self.avo.snapshot)

    def action_move(self, by: int) -> None:
        """One row."""
        self.pane.move(by)

    def action_page(self, by: int) -> None:
        """Half a page."""
        self.pane.page(by)

    def action_edge(self, by: int) -> None:
        """The first or the last row."""
        self.pane.edge_to(by)

    def action_sideways(self, by: int) -> None:
        """To the side."""
        self.pane.sideways(by)

    def action_order(self) -> None:
        """The next order of a table; everything folded or not in a stream."""
        pane = self.pane
        if isinstance(pane, Stream):
            pane.fold_all()
        else:
            pane.look(replace(pane.view, order=pane.view.order + 1))

    def action_fold(self) -> None:
        """Unfold or fold a block."""
        if isinstance(self.pane, Stream):
            self.pane.fold()

    def action_follow(self) -> None:
        """Back to the newest line and to now."""
        self.avo.player.playing = False
        if self.avo.asked is not None:
            self.avo.seek(None)
        for pane in self.panes.values():
            if isinstance(pane, Stream):
                pane.follow()

    def action_back(self) -> None:
        """Leave the zoom, the filter or the past, whichever is nearest."""
        if self.zoomed:
            self.action_zoom(-1)
        elif self.pane.view.filter:
            self.pane.look(replace(self.pane.view, filter=""))
        elif self.avo.asked is not None:
            self.action_follow()
        self._show_keys()

    def on_pane_opened(self, message: Pane.Opened) -> None:
        """A row was opened with the mouse."""
        self.open_key(message.key)

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """A tab was picked with the mouse."""
        self.action_view(message.view)

    def action_open(self) -> None:
        """Open what is under the cursor."""
        pane = self.pane
        if isinstance(pane, Stream):
            pane.fold()
        elif pane.chosen() is not None:
            self.open_key(pane.chosen())

    def open_key(self, key: Hashable, *, tab: str = "diff") -> None:
        """Open a version or an attempt."""
        if isinstance(key, int) and self.pane.id == "versions":
            self._review(version=key, tab=tab)
        elif isinstance(key, tuple) and key[0] == "attempt":
            self._review(attempt=key[1], tab=tab)

    def _review(self, *, version: int | None = None, attempt: int | None = None, tab: str = "diff") -> None:
        from avo_tui.model.review import Subject
        from avo_tui.screens.review import ReviewScreen

        self.app.push_screen(ReviewScreen(Subject(version=version, attempt=attempt), tab=tab))

    def action_diff(self) -> None:
        """The diff of what is selected; of the head where nothing is."""
        pane = self.pane
        if pane.id in ("versions", "attempts") and pane.chosen() is not None:
            self.open_key(pane.chosen())
        elif self.avo.snapshot.head is not None:
            self._review(version=self.avo.snapshot.head)

    def action_mark(self) -> None:
        """Mark the selected version."""
        number = self.chosen_version()
        if number is None:
            self.avo.say("select a version (3) to mark it", "warn")
        else:
            self.avo.mark(number)

    # Finding.

    def action_find(self) -> None:
        """Ask what to find or filter."""
        word = "find" if self.pane.searches else "filter"
        self._prompt_for(word, f"{word} in {self.pane.title.lower()}: ", self.pane.view.filter)

    def _prompt_for(self, purpose: str, label: str, value: str = "", words: Sequence[str] = ()) -> None:
        self.prompt.ask(purpose, label, value, words)
        self.prompt.display = True
        self.arrange_panes()
        self.prompt.focus_input()
        self._asker = self.pane

    _asker: Pane | None = None

    def on_prompt_changed(self, message: Prompt.Changed) -> None:
        """Filters apply while they are typed."""
        if message.purpose == "filter" and self._asker is not None:
            self._asker.look(replace(self._asker.view, filter=message.value))

    def on_prompt_answered(self, message: Prompt.Answered) -> None:
        """A line was typed, or given up."""
        pane = self._asker or self.pane
        self.prompt.display = False
        self.arrange_panes()
        self.set_focus(pane, scroll_visible=False)
        if message.purpose in ("find", "filter"):
            pane.look(replace(pane.view, filter=message.value or ""))
            if message.purpose == "find" and message.value:
                self._find(-1, pane)
        elif message.value:
            self.obey(message.purpose, message.value)
        self._show_keys()

    def obey(self, purpose: str, text: str) -> None:
        """Do what was typed after `:` or `t`."""
        from avo_tui.screens import typed

        try:
            if purpose == "goto":
                self.go(text)
            else:
                typed.obey(self, text)
        except (AvoError, sqlite3.Error) as error:
            self.avo.say(str(error), "warn")

    def action_command(self) -> None:
        """Ask for a command."""
        from avo_tui.screens import typed

        self._prompt_for("command", ":", words=typed.WORDS)

    def action_palette(self) -> None:
        """Every action by name."""
        from avo_tui.screens.pick import Palette

        def picked(name: str | None) -> None:
            key = next((k for k in self.avo.keys if k.id == name), None)
            if key is not None:
                self.call_later(self.run_action, key.action)

        self.app.push_screen(Palette([k for k in self.avo.keys if k.group != MOVE]), picked)

    # Time.

    def action_goto(self) -> None:
        """Ask where to go."""
        self._prompt_for("goto", f"go to ({travel.HELP}): ")

    def go(self, text: str) -> None:
        """Go to what was named."""
        self._travel(travel.target(self.avo.reader, text, self.avo.snapshot.taken_at))

    def action_step(self, by: int) -> None:
        """One attempt back or on."""
        self._step(by, "attempt")

    def action_leap(self, by: int) -> None:
        """One version back or on."""
        self._step(by, "version")

    def _step(self, by: int, kind: str) -> None:
        try:
            self._travel(travel.step(self.avo.reader, self.avo.asked, by, kind))
        except UsageError as error:
            self.avo.say(str(error), "warn")
        except (AvoError, sqlite3.Error) as error:
            self.avo.say(str(error), "bad")

    def _travel(self, seq: int | None) -> None:
        self.avo.player.playing = False
        self.avo.seek(seq)
        if seq is None:
            self.avo.say("this is now")

    def action_play(self) -> None:
        """Replay from here, or hold."""
        self.avo.play()

    def action_speed(self, by: int) -> None:
        """Replay faster or slower."""
        self.avo.say(f"replay at {self.avo.player.faster(by)}×")
        self.show_moment(self.avo.snapshot)

    def action_away(self) -> None:
        """What happened since the last look."""
        self.avo.tell_away()

    def action_save(self) -> None:
        """The pane as text, the screen as SVG."""
        self.avo.save(self.pane.title.lower(), self.pane.text())

    def action_editor(self) -> None:
        """What is selected, in $EDITOR."""
        pane = self.pane
        if pane.id in ("versions", "attempts"):
            self.avo.say("Enter opens it; e in the review opens its sources")
        else:
            self.avo.edit(pane.copied(), f"{pane.title.lower()}.txt")

    def action_search(self) -> None:
        """Search everything that ever happened."""
        from avo_tui.screens.search import Search

        self.app.push_screen(Search(), self._go_to_hit)

    def _go_to_hit(self, seq: int | None) -> None:
        """Attempts and versions open; everything else is shown in the transcript."""
        event = self.avo.event(seq) if seq is not None else None
        if seq is None or event is None:
            return
        if isinstance(event, ev.AttemptScored | ev.GateDecided):
            self._review(attempt=event.attempt)
        elif isinstance(event, ev.VersionCommitted):
            self._review(version=event.version)
        else:
            if self.number not in (1, 2):
                self.action_view(2)
            talk = self.panes["transcript"]
            assert isinstance(talk, Stream)
            self.focus_pane("transcript")
            talk.jump(seq)

    def action_next_match(self) -> None:
        """The next match below."""
        self._find(1, self.pane)

    def action_previous_match(self) -> None:
        """The next match above."""
        self._find(-1, self.pane)

    def _find(self, by: int, pane: Pane) -> None:
        if not pane.view.filter:
            self.avo.say("nothing to find: / asks for it")
        elif isinstance(pane, Stream):
            if not pane.find(by):
                self.avo.say(f"no {'further' if by > 0 else 'earlier'} {pane.view.filter!r}", "warn")
        else:
            pane.move(by)

    def action_copy(self) -> None:
        """Copy what is selected."""
        text = self.pane.copied()
        if text:
            self.avo.copy_text(text)
