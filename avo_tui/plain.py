"""Plain: a run steered by typed lines, for screen readers, dumb terminals and scripts. No prompt, no cursor tricks.

A line is a command of `avo` without the run's name; what it answers is what that command prints.
"""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import suppress

from avo_tui.arguments import parser
from engine.record.errors import AvoError
from engine.record.run import RunFolder

LOOK = ("status", "versions", "attempts", "show", "diff", "alerts", "directions", "commands", "costs")
ACT: tuple[str, ...] = ("pause", "resume", "interrupt", "stop", "direct", "rollback", "undo", "acknowledge", "pin")
ACT += ("veto", "limits", "cancel")
LEAVE = ("quit", "leave", "detach", "exit")
LONGEST = 1 << 20
HINT = "type help for what can be said here, quit to leave; the run goes on"
HELP = """look:  status, versions, attempts, show v3, diff v2 v3, alerts, directions, commands, costs
steer: pause, resume, interrupt, direct TEXT, rollback v3, undo, acknowledge 1, pin DIRECTION, veto DIRECTION,
       limits --minutes 60, cancel 2, stop
leave: quit; the run goes on"""


class Listener:
    """What a person types on standard input, a line at a time, while the run's own lines are printed."""

    def __init__(self, folder: RunFolder, *, readonly: bool, source: int = 0) -> None:
        self._folder, self._readonly, self._source = folder, readonly, source
        self._typed = b""
        self._open = True

    def wait(self, seconds: float) -> bool:
        """Wait that long, obeying what is typed meanwhile; False when the person leaves."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not self._open:
                time.sleep(left)
                break
            if select.select([self._source], [], [], left)[0]:
                going = all(self._obey(line) for line in self._read())
                sys.stdout.flush()  # a pipe shows what a command printed as soon as a terminal does
                if not going:
                    return False
        return True

    def _read(self) -> list[str]:
        """The whole lines that are there; at the end of input the rest, and nothing is read again."""
        try:
            chunk = os.read(self._source, 65536)
        except OSError:  # the terminal is gone
            chunk = b""
        self._open = bool(chunk)
        *lines, self._typed = (self._typed + (chunk or b"\n")).split(b"\n")
        if len(self._typed) > LONGEST:
            print(f"the line is longer than {LONGEST:,} characters and was dropped; 'direct @FILE' reads a file")
            self._typed = b""
        return [line.decode("utf-8", "replace").strip() for line in lines]

    def _obey(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        if word in LEAVE:
            return False
        if word == "help":
            print(HELP)
        elif word in LOOK or (word in ACT and not self._readonly):
            self._do(word, rest.strip())
        elif word:
            why = "this watcher only looks" if word in ACT else f"{word[:40]!r} is not known here"
            print(f"refused: {why}; help says what can be said")
        return True

    def _do(self, word: str, rest: str) -> None:
        """Run the command as `avo` would, and print what went wrong in one line."""
        from avo_tui.cli import called

        run = str(self._folder.path)
        words = [rest] if word == "direct" else rest.split()
        flags = ["--no-wait"] if word in ACT else []
        try:
            if word == "direct" and rest == "-":
                print("refused: say the direction after 'direct', or name a file with 'direct @FILE'")
                return
            with suppress(SystemExit):  # --help
                called(parser().parse_args([word, *flags, run, *(["--", *words] if word == "direct" else words)]))
        except AvoError as error:
            print("refused: " + " ".join(str(error).split()))
