"""A terminal that a test owns: a real pty, a real process, and an emulator that says what a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from types import TracebackType
from typing import Self

import pyte
from wcwidth import wcwidth

KEYS = {
    "enter": "\r", "esc": "\x1b", "tab": "\t", "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D",
    "pgup": "\x1b[5~", "pgdn": "\x1b[6~", "home": "\x1b[H", "end": "\x1b[F", "space": " ", "backtab": "\x1b[Z",
}  # fmt: skip


_GLANCE = 1 << 18  # bytes: a terminal hands out 4 KiB at a time, and a screen is many of them
_PASSED = ("PATH", "HOME", "USER", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TZ", "AVO_PERSON")


class _Stream(pyte.ByteStream):
    """The emulator's stream, which parses letter by letter; colours, most of what a room sends, it takes whole."""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        text, at = self.utf8_decoder.decode(data), 0
        for colours in _COLOURS.finditer(text):
            pyte.Stream.feed(self, text[at : colours.start()])
            if self._taking_plain_text:
                self.listener.select_graphic_rendition(*_numbers(colours[1]))
            else:  # it stands inside another sequence
                pyte.Stream.feed(self, colours[0])
            at = colours.end()
        pyte.Stream.feed(self, text[at:])


class _Screen(pyte.Screen):
    """The emulator's screen, which makes a new cell for each letter; here equal cells are the same."""

    def __init__(self, columns: int, lines: int) -> None:
        self._cells: dict[pyte.screens.Char, dict[str, pyte.screens.Char]] = {}
        self._renditions: dict[tuple[pyte.screens.Char, tuple[int, ...]], pyte.screens.Char] = {}
        super().__init__(columns, lines)

    def draw(self, data: str) -> None:
        """Letters of one cell each that fit the line; whatever else there is, the emulator draws."""
        cursor = self.cursor
        plain = _plain(data) and not self.charset and pyte.modes.IRM not in self.mode
        if not plain or cursor.x + len(data) > self.columns:
            super().draw(data)
            return
        line, attrs = self.buffer[cursor.y], cursor.attrs
        cells = self._cells.setdefault(attrs, {})
        for x, letter in enumerate(data, cursor.x):
            cell = cells.get(letter)
            if cell is None:
                cell = cells[letter] = attrs._replace(data=letter)
            line[x] = cell
        cursor.x += len(data)
        self.dirty.add(cursor.y)

    def select_graphic_rendition(self, *attrs: int) -> None:
        """What follows looks like this."""
        key = self.cursor.attrs, attrs
        known = self._renditions.get(key)
        if known is None:
            super().select_graphic_rendition(*attrs)
            self._renditions[key] = self.cursor.attrs
        else:
            self.cursor.attrs = known


@cache
def _plain(text: str) -> bool:
    """Whether it is letters that take one cell each."""
    return all(wcwidth(letter) == 1 for letter in text)


_COLOURS = re.compile(r"\x1b\[([0-9;]*)m")


@cache
def _numbers(text: str) -> tuple[int, ...]:
    return tuple(min(int(n or 0), 9999) for n in text.split(";"))


class Terminal:
    """Runs a command in a pty of `width` x `height`; `until` waits, `press` types, `text` is the screen."""

    def __init__(self, command: Sequence[str], *, width: int, height: int, env: Mapping[str, str] = {}) -> None:
        self.screen = _Screen(width, height)
        self.stream = _Stream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.before = termios.tcgetattr(slave)
        # Only what is named passes, so that a screen looks the same on every machine.
        base = {k: v for k, v in os.environ.items() if k in _PASSED or k.startswith("XDG_")}
        full = {**base, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **env}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=full, start_new_session=True, close_fds=True
        )
        self._slave = slave
        # What was seen of each line, until it is written to: to look again and again costs little.
        self._letters: dict[int, str] = {}
        self._runs: dict[int, list[tuple[str, int]]] = {}
        self._open: tuple[int, ...] = (self._master, slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.hang_up()

    def hang_up(self) -> None:
        """Take the terminal away, as a lost connection does where nobody sends a SIGHUP."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open = ()

    def pump(self, seconds: float) -> bool:
        """Read what comes within `seconds`, and what is there with it; whether anything came."""
        data = b""
        while len(data) < _GLANCE and select.select([self._master], [], [], 0 if data else seconds)[0]:
            try:
                piece = os.read(self._master, 65536)
            except OSError:
                break
            if not piece:
                break
            data += piece
        self.raw += data
        # pyte does not know the kitty keyboard protocol's `CSI > … u` and `CSI < u`, and would print them.
        self.stream.feed(re.sub(rb"\x1b\[[<>=][0-9;]*u", b"", data))
        return bool(data)

    def text(self) -> str:
        """The screen, line by line."""
        self._look()
        for y in range(self.screen.lines):
            if y not in self._letters:
                self._letters[y] = _letters(self.screen.buffer[y], self.screen.columns)
        return "\n".join(self._letters[y] for y in range(self.screen.lines))

    def _look(self) -> None:
        """Forget the lines that were written to; a combining letter may have changed the end of the line above."""
        for y in self.screen.dirty:
            for changed in (y - 1, y):
                self._letters.pop(changed, None)
                self._runs.pop(changed, None)
        self.screen.dirty.clear()

    def until(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Wait for a pattern on the screen; fails with the screen when it does not come."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text())
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} did not appear within {seconds} s:\n{self.text()}")
            self.pump(0.05)

    def receive(self, pattern: bytes, seconds: float = 30.0) -> None:
        """Wait for bytes that are not seen on the screen."""
        deadline = time.monotonic() + seconds
        while not re.search(pattern, self.raw):
            assert time.monotonic() < deadline, f"{pattern!r} did not come within {seconds} s"
            self.pump(0.05)

    def gone(self, pattern: str, seconds: float = 30.0) -> None:
        """Wait until a pattern is no longer on the screen."""
        deadline = time.monotonic() + seconds
        while re.search(pattern, self.text()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} stayed for {seconds} s:\n{self.text()}")
            self.pump(0.05)

    def settle(self, quiet: float = 0.25, seconds: float = 10.0) -> None:
        """Wait until nothing came for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.pump(quiet):
            pass

    def press(self, *keys: str) -> None:
        """Press keys by name, or type text."""
        for key in keys:
            code = KEYS.get(key) or (chr(ord(key[5]) & 31) if re.fullmatch(r"ctrl\+[a-z]", key) else key)
            os.write(self._master, code.encode())
            self.pump(0.02)

    def resize(self, width: int, height: int) -> None:
        """Another size, as when a window is dragged."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self.screen.resize(height, width)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def wait(self, seconds: float = 40.0) -> int:
        """The exit code, once the process ends."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.pump(0.05)
        while self.pump(0.05):
            pass
        return self.process.wait(max(deadline - time.monotonic(), 0.1))

    def restored(self) -> list[str]:
        """What the program left switched on; empty when the terminal is as it was."""
        left = [name for on, off, name in _MODES if self.raw.rfind(on) > self.raw.rfind(off)]
        if termios.tcgetattr(self._slave)[3] != self.before[3]:
            left.append("raw input")
        return left

    def styles(self) -> str:
        """How the screen is coloured: run lengths of letters for each line, and what each letter means."""
        self._look()
        names: dict[str, str] = {}
        lines = []
        for y in range(self.screen.lines):
            if y not in self._runs:
                self._runs[y] = _runs(self.screen.buffer[y], self.screen.columns)
            runs = ((names.setdefault(style, _letter(len(names))), count) for style, count in self._runs[y])
            lines.append(" ".join(f"{letter}{count}" for letter, count in runs))
        return "\n".join([*lines, *(f"{letter} = {style}" for style, letter in names.items())])


_MODES = (
    (b"\x1b[?1049h", b"\x1b[?1049l", "alternate screen"),
    (b"\x1b[?1003h", b"\x1b[?1003l", "mouse"),
    (b"\x1b[?25l", b"\x1b[?25h", "hidden cursor"),
    (b"\x1b[?2004h", b"\x1b[?2004l", "bracketed paste"),
    (b"\x1b[?1004h", b"\x1b[?1004l", "focus reports"),
)


def _letters(line: Mapping[int, pyte.screens.Char], columns: int) -> str:
    """A line as letters; a wide one has the cell behind it as well."""
    found, covered = [], False
    for x in range(columns):
        data = line[x].data
        if covered:
            covered = False
            continue
        found.append(data)
        covered = not data.isascii() and wcwidth(data[0]) == 2
    return "".join(found).rstrip()


def _runs(line: Mapping[int, pyte.screens.Char], columns: int) -> list[tuple[str, int]]:
    """A line's styles, each with how many cells have it."""
    styles = (
        _style(c.fg, c.bg, c.bold, c.italics, c.underscore, c.reverse) for c in map(line.__getitem__, range(columns))
    )
    return [(style, len(list(cells))) for style, cells in groupby(styles)]


@cache
def _style(fg: str, bg: str, *set_: bool) -> str:
    flags = [n for n, on in zip(("bold", "italics", "underscore", "reverse"), set_, strict=True) if on]
    return f"{fg} on {bg}" + (f" {' '.join(flags)}" if flags else "")


def _letter(n: int) -> str:
    return chr(97 + n) if n < 26 else chr(65 + n - 26) if n < 52 else f"({n})"
