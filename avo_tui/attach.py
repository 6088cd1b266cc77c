"""The way into the control room. Textual is imported here, once the terminal is known to be able to show something."""

from __future__ import annotations

import gc
import os

from avo_tui import terminal
from engine.record.run import RunFolder


def main(folder: RunFolder, *, readonly: bool = False, replay: float | None = None) -> int:
    """Show the control room on a run until its person detaches; returns the exit code.

    With `replay` the run is played from its start, so many times faster than it happened.

    Raises a UsageError when the terminal cannot show it, and the journal's own errors.
    """
    terminal.require_tty()
    seen = terminal.probe(os.environ)
    # What is imported and made until the first picture stays; the app's `_import_ahead` enables it again.
    gc.disable()
    try:
        return _show(folder, seen, readonly=readonly, replay=replay)
    finally:
        gc.enable()


def _show(folder: RunFolder, seen: terminal.Terminal, *, readonly: bool, replay: float | None) -> int:
    from avo_tui import keys, prefs
    from avo_tui.app import AvoApp, palette_for
    from avo_tui.replay import speed_of

    wanted = prefs.load()
    table = keys.remapped(keys.TABLE, dict(wanted.keys), str(prefs.path()))
    ascii = seen.ascii if wanted.ascii is None else wanted.ascii
    os.environ["TEXTUAL_COLOR_SYSTEM"] = {"truecolor": "truecolor", "256": "256"}.get(seen.depth, "standard")
    with terminal.guarded_stderr(terminal.state_directory() / "room.log"), terminal.title_kept():
        app = AvoApp(folder, readonly=readonly, palette=palette_for(seen, wanted.theme), ascii=ascii, table=table,
                     replay=speed_of(replay) if replay else 0, bell=wanted.bell)  # fmt: skip
        app.run(mouse=wanted.mouse)
    code = app.return_code if app.return_value is None else app.return_value
    return int(code or 0)
