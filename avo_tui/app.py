"""The app: one run, its feed, its colours, and the person's last message. `attach.main` is the only way in.

The app owns what screens share; it never blocks on the journal (the feed reads) nor on a
command (a worker writes).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from textual import events, work
from textual.app import SuspendNotSupported
from textual.binding import Binding
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker, WorkerState

from avo_tui import prefs, terminal
from avo_tui.attention import Attention
from avo_tui.driver import driver
from avo_tui.feed import Feed
from avo_tui.keys import TABLE, Key
from avo_tui.model import host, steering
from avo_tui.model.lines import EMPTY, Line
from avo_tui.model.snapshot import ATTEMPTS, Snapshot
from avo_tui.presence import Presence
from avo_tui.replay import Player
from avo_tui.themes import PALETTES, Palette
from avo_tui.typeahead import InOrder
from engine.record import commands
from engine.record.commands import Verb
from engine.record.errors import AvoError
from engine.record.events import Event
from engine.record.reader import Attempt, Entry, Reader
from engine.record.run import RunFolder

MESSAGE_S = 6.0
QUIT_TWICE_S = 3.0
PAGE = 400
PLAY_S = 0.2
HOST_S = 15.0
AHEAD_S = 0.5
BREATH_S = 0.02  # between two imports: a key need not wait for more than one
BELOW_S = 10.0
GRACE_S = 0.5  # before a dialog takes keys
# What later keys need, in steps: what each of the last ones imports has mostly been imported by those before it.
AHEAD = (
    "avo_tui.model.diff", "avo_tui.model.syntax", "avo_tui.model.review", "avo_tui.screens.dialog",
    "avo_tui.screens.review", "avo_tui.screens.help", "avo_tui.screens.direct", "avo_tui.screens.rollback",
    "avo_tui.screens.limits", "avo_tui.screens.pick", "avo_tui.screens.search", "engine.lineage",
)  # fmt: skip
T = TypeVar("T")


class Fresh(Message):
    """A new moment came from the feed."""


class AvoApp(InOrder):
    """The control room on one run."""

    TITLE = "AVO"
    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = Path(__file__).with_name("room.tcss")
    BINDINGS = [  # noqa: RUF012
        Binding("ctrl+q", "detach", show=False, priority=True),
        Binding("ctrl+c", "quit_twice", show=False, priority=True),
    ]

    def __init__(
        self,
        folder: RunFolder,
        *,
        readonly: bool = False,
        palette: Palette | None = None,
        ascii: bool = False,
        table: tuple[Key, ...] = TABLE,
        clock: Callable[[], float] = time.time,
        live: bool = True,
        replay: int = 0,
        watch_host: bool = True,
        bell: bool = True,
        grace_s: float = GRACE_S,
    ) -> None:
        super().__init__(driver_class=driver(), ansi_color=True if palette and palette.ansi else None)
        self.folder = folder
        self.readonly = readonly
        self.palette = palette or PALETTES["dark"]
        self.ascii = ascii
        self.keys = table
        self.grace_s = grace_s
        self.clock = clock
        self.feed = Feed(folder, self._deliver, clock)
        self.snapshot: Snapshot = self.feed.first(1 if replay else None)
        self.message: Line = EMPTY
        self.marked: int | None = None
        self._client = f"{os.uname().nodename}:{os.getpid()}"
        self.draft = ""
        self.asked: int | None = None  # the moment that was asked for; it shows a little later
        self.last_look = prefs.last_look(folder.path) if live else None
        self._live = live
        self._replay = replay
        self._watch_host = watch_host
        self._played_at = 0.0
        self.load: host.Load | None = None
        self._ticks: host.Ticks | None = None
        self._host_due = 0.0
        self.player = Player(lambda: self.reader)
        self._reader: Reader | None = None
        self._message_until = 0.0
        self._interrupted_at = 0.0
        self._key_at = time.monotonic()
        self.attention = Attention(
            self.write_beside, bell=bell, titled=live and terminal.has_title(os.environ), ascii=ascii
        )
        self.register_theme(self.palette.theme())
        self.theme = f"avo-{self.palette.name}"
        self.set_keymap({k.id: k.keys for k, usual in zip(table, TABLE, strict=True) if k.keys != usual.keys})

    # Life.

    def get_default_screen(self) -> Screen[Any]:
        """The room: an empty screen below it would be made, styled and laid out before it."""
        from avo_tui.screens.room import Room

        self.ready = False  # the room says when it can take keys
        return Room()

    def refresh_css(self, animate: bool = True) -> None:
        """Style everything anew; before there is a screen only the colours are taken, the first style comes with it."""
        if self.screen_stack:
            super().refresh_css(animate)
        else:
            self.stylesheet.set_variables(self.get_css_variables())

    def on_mount(self) -> None:
        """Watch the run."""
        self._catch_signals()
        if self._live:
            self.presence = (
                None
                if self._replay
                else Presence(self.folder.path, how="browser" if self.is_web else "room", readonly=self.readonly)
            )
            self._be_seen()
            self.call_after_refresh(self.feed.start)
            self.set_interval(1.0, self._tick)
            self.set_interval(60.0, self._remember)
            self.set_interval(60.0, self._be_seen)
            self.set_timer(AHEAD_S, lambda: self.run_worker(_import_ahead, thread=True, exit_on_error=False))
            self._playing = self.set_interval(PLAY_S, self._play_on, pause=True)
            if self._replay:
                self.player.speed = self._replay
                self.call_after_refresh(self.play)
            else:
                self.call_after_refresh(self.tell_away, unasked=True)

    def on_unmount(self) -> None:
        """Stop watching."""
        self.feed.stop()
        self._remember()
        if self.presence is not None:
            self.presence.leave()
        self._close_reader()
        self.write_beside(terminal.BLANK)

    def _remember(self) -> None:
        if self._live and not self._replay and self.snapshot.at is None:
            prefs.remember_look(self.folder.path, self.snapshot.last_seq, self.clock())

    presence: Presence | None = None

    def _be_seen(self) -> None:
        """Stand among the run's viewers, also after its folder was away."""
        if self.presence is not None:
            self.presence.come()

    def _greet(self, before: Snapshot, now: Snapshot) -> None:
        """Say who came to look, and who left."""
        if before.at is None and now.at is None and before.company != now.company:
            came = [name for name in now.company if name not in before.company]
            left = [name for name in before.company if name not in now.company]
            self.say(f"{', '.join(came)} looks on now" if came else f"{', '.join(left)} looks on no longer", "you")

    def _catch_signals(self) -> None:
        """End in order on SIGTERM and SIGHUP, so that the terminal is given back as it was."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGHUP):
            try:
                loop.add_signal_handler(name, lambda n=name: self.exit(128 + n))  # type: ignore[misc]
            except (NotImplementedError, RuntimeError, ValueError):  # not the main thread, as in tests
                return

    # Moments.

    def _deliver(self, snapshot: Snapshot) -> None:
        """Called in the feed's thread."""
        self._coming = snapshot
        self.post_message(Fresh())

    _coming: Snapshot | None = None

    def on_fresh(self) -> None:
        """Show the newest moment; older ones that still wait in the queue find nothing to do."""
        coming, self._coming = self._coming, None
        if coming is not None:
            self.take(coming)

    def take(self, snapshot: Snapshot) -> None:
        """Show a moment in every screen that wants it."""
        if self.load is not None and snapshot.at is None:
            snapshot = replace(snapshot, load=self.load)
        before, self.snapshot = self.snapshot, snapshot
        if snapshot.trouble:
            self._close_reader()
        self._greet(before, snapshot)
        if snapshot.at is None and not self.player.playing:
            self.attention.look(snapshot, idle_s=time.monotonic() - self._key_at, blurred=not self.app_focus)
        below = self._below_due(snapshot)
        for screen in self.screen_stack:
            show = getattr(screen, "show_moment", None)
            # One that is just being made asks for the moment itself, as does one that comes to the top again.
            if show is not None and screen.is_mounted and (below or screen is self.screen):
                show(snapshot)

    def _below_due(self, snapshot: Snapshot) -> bool:
        """Whether what lies below a dialog is shown anew: at once when it is grave, else now and then.

        Textual writes the whole screen again for each letter that changes below a dialog.
        """
        grave, now = (snapshot.state, snapshot.at, len(snapshot.alerts)), time.monotonic()
        if grave == self._grave and now < self._below_at + BELOW_S:
            return False
        self._grave, self._below_at = grave, now
        return True

    _grave: object = None
    _below_at = 0.0

    def _tick(self) -> None:
        """Once a second: the clock, the host, messages that are over, and whether anyone is there."""
        if not self.is_headless and terminal.hung_up():
            self.exit(128 + signal.SIGHUP)
            return
        if self.message and self.clock() >= self._message_until:
            self.message = EMPTY
        self._tend_host()
        for screen in self.screen_stack:
            tick = getattr(screen, "tick", None)
            if tick is not None:
                tick()

    async def on_event(self, event: events.Event) -> None:
        """Remember when the last key was pressed; everything else is as in every app."""
        if isinstance(event, events.Key):
            self._key_at = time.monotonic()
        await super().on_event(event)

    def write_beside(self, sequence: str) -> None:
        """Put an escape sequence on the terminal that shows nothing: a bell, a title, a clipboard."""
        if self._driver is not None:
            self._driver.write(sequence)

    def replaying(self) -> str:
        """What the status line says while a replay plays; empty otherwise."""
        return self.player.label() if self.player.playing else ""

    def play(self) -> None:
        """Replay from the moment that is shown (from the start, when that is now), or hold."""
        if self.player.playing:
            self.player.playing = False
            self.take(self.snapshot)
            return
        self._read(lambda _: self.player.start(self.asked or 1), None)
        self._played_at = time.monotonic()
        self._playing.resume()

    _playing: Timer

    def _play_on(self) -> None:
        if not self.player.playing:
            self._playing.pause()
            return
        now = time.monotonic()
        if self.snapshot.trouble:  # the replay waits with the room until the run can be read again
            self._played_at = now
            return
        otherwise: int | None = self.player.seq
        seq = self._read(lambda _: self.player.advance(now - self._played_at), otherwise)
        self._played_at = now
        if seq is None:
            self.say("the replay has reached the end; f returns to now", "info")
            self.take(self.snapshot)
        elif seq != self.asked:
            self.seek(seq)

    def seek(self, seq: int | None) -> None:
        """Go to the moment right after an event, or back to now."""
        self.asked = seq
        self.feed.seek(seq)

    def _host_wanted(self) -> bool:
        """Whether the host's load is seen, and is that of a run that goes on here and now."""
        s = self.snapshot
        if not (self._watch_host and s.here and s.at is None and s.engine_alive):
            return False
        floors = (getattr(screen, "panes", {}) for screen in self.screen_stack)
        return any("context" in panes and panes["context"].display for panes in floors)

    def _tend_host(self) -> None:
        """Once a second: look at the host when that is due. A load needs two looks, so the second comes soon."""
        now = time.monotonic()
        if not self._host_wanted():
            self._ticks, self._host_due = None, 0.0
        elif now >= self._host_due:
            self._host_due = now + (HOST_S if self._ticks else 0.0)
            self._look_at_host()

    @work(group="host", exclusive=True, exit_on_error=False)
    async def _look_at_host(self) -> None:
        before, self._ticks = self._ticks, await asyncio.to_thread(host.ticks)
        if before is not None:
            gpus, apps = await asyncio.to_thread(lambda: (host.gpus(), host.apps()))
            self.load = host.load(before, self._ticks, gpus=gpus, apps=apps)
            self.take(self.snapshot)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What failed in the background is said; nothing vanishes."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            error = event.worker.error
            self.say(f"{type(error).__name__}: {error}; {_short(terminal.state_directory() / 'room.log')}", "bad")
            traceback.print_exception(error, file=sys.stderr)

    def _fatal_error(self) -> None:
        """Leave with what broke, told plainly: to draw every frame's variables keeps the terminal for seconds more."""
        from rich.text import Text

        self.bell()
        broke = "".join(traceback.format_exception(self._exception)) if self._exception else ""
        told = f"{broke}the room broke, and its run goes on: avo attach {self.folder.name}"
        self._exit_renderables.append(Text(told))
        self._close_messages_no_wait()

    # Reading on demand.

    @property
    def reader(self) -> Reader:
        """A reader of the app's own thread, for what the snapshots do not hold.

        Raises what is wrong while the feed cannot read either: what was opened before may be a file that is gone.
        """
        if self.snapshot.trouble:
            raise AvoError(self.snapshot.trouble)
        if self._reader is None:
            self._reader = Reader(self.folder.journal)
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _read(self, read: Callable[[Reader], T], otherwise: T) -> T:
        """Read something on demand; a journal that cannot be read is said, and `otherwise` returned."""
        try:
            return read(self.reader)
        except (AvoError, sqlite3.Error) as error:
            self.say(str(error), "bad")
            return otherwise

    def older(self, before: int) -> list[Entry]:
        """The page of entries before an event."""
        return self._read(lambda r: r.tail(PAGE, before=before), [])

    def newer(self, after: int, until: int | None) -> list[Entry]:
        """The page of entries after an event, up to a moment of the past."""
        before = None if until is None else until + 1
        return self._read(lambda r: r.events(after, before=before, limit=PAGE), [])

    def around(self, seq: int) -> list[Entry]:
        """A page of entries around an event."""
        half = PAGE // 2
        return self._read(lambda r: [*r.tail(half, before=seq + 1), *r.events(seq, limit=half)], [])

    def search_near(self, text: str, *, before: int | None = None, after: int | None = None) -> int | None:
        """The nearest event with these words."""
        return self._read(lambda r: r.search_near(text, before=before, after=after), None)

    def attempts_before(self, number: int) -> list[Attempt]:
        """The page of attempts before one."""
        return self._read(lambda r: r.attempts(before=number, limit=ATTEMPTS), [])

    async def attempts_with(self, text: str) -> list[Attempt]:
        """Attempts of the whole run, up to the moment shown, with these words."""
        at = self.snapshot.at

        def find() -> list[Attempt]:
            with Reader(self.folder.journal) as reader:
                return reader.attempts_with(text, before=None if at is None else at + 1)

        try:
            return await asyncio.to_thread(find)
        except (AvoError, sqlite3.Error) as error:
            self.say(str(error), "bad")
            return []

    def event(self, seq: int) -> Event | None:
        """One event by its number."""
        entry = self._read(lambda r: r.entry(seq), None)
        return None if entry is None else entry.event()

    def undoable(self) -> tuple[int, int] | None:
        """The last roll-back that can be taken back: (before, after)."""
        return self._read(lambda r: r.undoable(), None)

    def tell_away(self, *, unasked: bool = False) -> None:
        """Show what happened since the last look; unasked only when it is worth telling."""
        from avo_tui.model import away, plan
        from avo_tui.screens.dialog import Notice

        if unasked and (self.size.width < plan.MIN_WIDTH or self.size.height < plan.MIN_HEIGHT):
            return  # nothing fits here but the word that it is too small
        since = self.last_look or (0, self.snapshot.created_at)
        if unasked and not (self.last_look and away.worth_telling(self.snapshot, *since)):
            return
        try:
            lines = away.digest(self.snapshot, self.reader, *since)
        except (AvoError, sqlite3.Error) as error:
            self.say(str(error), "bad")
            return
        self.push_screen(Notice(lines, title=" While you were away " if unasked else " Since you last looked "))

    def save(self, name: str, text: str) -> None:
        """Save a pane as text and the screen as SVG, side by side."""
        folder = terminal.state_directory() / "saved"
        stem = f"{self.folder.name}-{name}-{time.strftime('%H%M%S', time.localtime(self.clock()))}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}.txt").write_text(text + "\n", "utf-8")
            (folder / f"{stem}.svg").write_text(self.export_screenshot(title=self.folder.name), "utf-8")
        except OSError as error:
            self.say(f"cannot write {folder}: {error.strerror}", "bad")
            return
        self.say(f"saved {_short(folder / stem)}.txt and .svg")

    # Saying and doing.

    def say(self, text: str, role: str = "info", seconds: float = MESSAGE_S) -> None:
        """Show one line at the bottom for a while."""
        self.message = ((text, role),)
        self._message_until = self.clock() + seconds
        self._tick()

    def may_act(self) -> bool:
        """Whether the run can be steered from here; says why not."""
        why, role = steering.hindrance(self.snapshot, readonly=self.readonly)
        if why:
            self.say(why, role)
        return not why

    def offers(self, key: Key) -> bool:
        """Whether a key would do something now: looking always does."""
        s = self.snapshot
        return not key.acts or not (
            steering.hindrance(s, readonly=self.readonly)[0] or steering.nothing_to_do(s, key.action)
        )

    def named(self, key: Key) -> Key:
        """A key with the word for what it would do now."""
        return replace(key, hint="resume") if key.id == "pause" and self.snapshot.state == "paused" else key

    def command(self, verb: Verb, arguments: Mapping[str, Any] | None = None) -> None:
        """Send a command; its life then shows on the last line and in the commands pane."""
        self.run_worker(self._send(verb, dict(arguments or {}), self.snapshot.last_seq), exit_on_error=False)

    async def _send(self, verb: Verb, arguments: dict[str, Any], seq: int) -> None:
        try:
            number = await asyncio.to_thread(commands.send, self.folder.journal, verb, arguments, issued_seq=seq)
        except AvoError as error:
            self.say(str(error), "bad")
            return
        self.say(f"#{number} {verb}: sent", "info", 2.0)

    @property
    def client(self) -> str:
        """How this room signs its commands."""
        return self._client

    def copy_text(self, text: str) -> None:
        """Copy through the terminal (OSC 52), and into a file for terminals that drop it."""
        path = terminal.state_directory() / "copied.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            self.say(f"cannot write {path}: {error.strerror}", "bad")
            return
        sequence = terminal.osc52(text, os.environ)
        if sequence:
            self.write_beside(sequence)
        where = "the clipboard and" if sequence else "too long for the clipboard; it is in"
        self.say(f"copied {len(text):,} characters to {where} {_short(path)}")

    def edit(self, text: str, name: str) -> str:
        """Open text in $EDITOR under a name; returns what it was saved as, or the same text when that fails."""
        import shlex
        import subprocess
        import tempfile

        editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        with tempfile.TemporaryDirectory(prefix="avo-") as folder:
            path = Path(folder) / name
            path.write_text(text, "utf-8")
            try:
                with self.suspend():
                    done = subprocess.run([*editor, str(path)], stderr=sys.__stderr__)
            except (OSError, SuspendNotSupported) as error:
                self.say(f"{editor[0]}: {error}; set $EDITOR", "bad")
                return text
            if done.returncode:
                self.say(f"{editor[0]} ended with {done.returncode}; nothing was taken over", "warn")
                return text
            return path.read_text("utf-8", "replace")

    def mark(self, version: int) -> None:
        """Remember a version that diffs compare against; marking it again forgets it."""
        self.marked = None if self.marked == version else version
        self.say(f"v{version} is marked: b in a review compares with it" if self.marked is not None else "no mark")
        self.take(self.snapshot)

    def export(self, version: int, where: str) -> None:
        """Write a version's sources to a new directory, in the background."""
        self.run_worker(self._export(version, Path(where).expanduser().absolute()), exit_on_error=False)

    async def _export(self, version: int, where: Path) -> None:
        from engine.lineage import Lineage

        try:
            written = await asyncio.to_thread(Lineage(self.folder.lineage).export, version, where)
        except AvoError as error:
            self.say(str(error), "bad")
            return
        self.say(f"v{version}: {len(written)} files in {where}")

    # Actions of every screen.

    def action_detach(self) -> None:
        """Leave; the run goes on."""
        self.exit(0)

    def action_quit_twice(self) -> None:
        """ctrl+c twice leaves."""
        now = time.monotonic()
        if now - self._interrupted_at < QUIT_TWICE_S:
            self.exit(0)
        self._interrupted_at = now
        self.say("ctrl+c once more detaches; the run goes on", "warn", QUIT_TWICE_S)

    def use_palette(self, name: str) -> None:
        """Change the colours."""
        self.palette = PALETTES[name]
        self.ansi_color = True if self.palette.ansi else None
        self.register_theme(self.palette.theme())
        self.theme = f"avo-{name}"
        for screen in self.screen_stack:
            for widget in screen.query("*"):
                widget.refresh()


def _import_ahead() -> None:
    """Import, in a thread, what later keys need: an import in the event loop would be felt."""
    try:
        for name in AHEAD:
            importlib.import_module(name)
            time.sleep(BREATH_S)
    finally:
        gc.freeze()  # what lives as long as the room is no garbage: looking through it takes longer than a frame
        gc.enable()


def _short(path: Path) -> str:
    home = str(Path.home())
    return str(path).replace(home, "~", 1) if str(path).startswith(home + "/") else str(path)


def palette_for(seen: terminal.Terminal, wanted: str) -> Palette:
    """The palette that was wanted, as far as the terminal can show it."""
    if wanted in ("ansi", "mono"):
        return PALETTES[wanted]
    if seen.depth in ("mono", "16"):
        return PALETTES["mono" if seen.depth == "mono" else "ansi"]
    name = ("light" if seen.light else "dark") if wanted == "auto" else wanted
    return PALETTES[name + ("256" if seen.depth == "256" else "")]
