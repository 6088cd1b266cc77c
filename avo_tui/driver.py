"""The terminal's driver: Textual's own, but its input thread sleeps until somebody types.

Textual's looks ten times a second whether a lone Escape has become one, also when nothing was typed for hours; that was
a fifth of what an idle room cost. Here it looks on for a moment after input, and then not until there is more.
"""

from __future__ import annotations

import asyncio
import os
import select
from codecs import getincrementaldecoder
from contextlib import suppress
from threading import Event
from typing import Any

from textual import constants
from textual._parser import ParseError
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

from avo_tui.terminal import hung_up

LOOK_S = 0.1
LOOKS = 3  # after input: what is half an escape sequence becomes a key
_MOST = 4096


class Told(Event):
    """An event that can be waited for beside a file."""

    def __init__(self) -> None:
        super().__init__()
        self.told, self._tell = os.pipe()

    def set(self) -> None:
        """Also wake who waits for the file."""
        super().set()
        os.write(self._tell, b".")

    def clear(self) -> None:
        """Also take back what was told."""
        if self.is_set():
            os.read(self.told, 1)
        super().clear()


class SleepingDriver(LinuxDriver):
    """Textual's driver for Linux and macOS."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.exit_event = self._over = Told()

    def run_input_thread(self) -> None:
        """Take input as it comes, until the driver ends."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")().decode
        looks = 0
        while not self.exit_event.is_set():
            ready, _, _ = select.select([self.fileno, self._over.told], [], [], LOOK_S if looks else None)
            looks = max(looks - 1, 0)
            if self.fileno in ready:
                looks = LOOKS
                text = decode(os.read(self.fileno, _MOST))
                if not text:  # the terminal is gone, or a letter came by half
                    self.exit_event.wait(LOOK_S / 10)
                for event in parser.feed(text) if text else ():
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)
        with suppress(EOFError, ParseError):
            list(parser.feed(""))

    def _sigcont_application(self, *given: Any) -> None:
        """Go on after a stop: one by Ctrl-Z as Textual does, which gave the terminal back before it."""
        if self._must_signal_resume:
            super()._sigcont_application(*given)
        elif self._auto_restart:
            with suppress(RuntimeError):  # before the app runs, and after
                asyncio.get_running_loop().call_soon_threadsafe(self._begin_anew)

    def _begin_anew(self) -> None:
        """Take the terminal again from whoever had it meanwhile.

        Textual only begins again: two threads would then read the keys, and the first of them outlive the app. A hangup
        brings this signal, too.
        """
        if not self._app._exit and not hung_up():
            self.suspend_application_mode()
            self.resume_application_mode()


def driver() -> type[LinuxDriver] | None:
    """The driver of a terminal; None where another one was asked for, as in a browser."""
    return None if constants.DRIVER else SleepingDriver
