"""One room for one browser tab: started by `avo serve`, speaks textual's web protocol on standard output.

What a browser sees runs here, so what would write files or start programs on this machine is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from avo_tui import keys, prefs
from avo_tui.app import AvoApp, palette_for
from avo_tui.terminal import Terminal
from engine.record.run import RunFolder

SEEN = Terminal("truecolor", ascii=False, light=False)


class BrowserApp(AvoApp):
    """The control room, seen from elsewhere."""

    def save(self, name: str, text: str) -> None:
        """Not from a browser."""
        self.say("a browser cannot save files on the run's machine; 'avo attach' can", "warn")

    def export(self, version: int, where: str) -> None:
        """Not from a browser."""
        self.say(f"a browser cannot write there; 'avo export {self.folder.name} v{version} -o DIR' does", "warn")

    def edit(self, text: str, name: str) -> str:
        """Not from a browser."""
        self.say("there is no editor in a browser; type here", "warn")
        return text


def main(arguments: Sequence[str]) -> int:
    """PATH [--control]: the run's folder, and whether it may be steered."""
    wanted = prefs.load()
    table = keys.remapped(keys.TABLE, dict(wanted.keys), str(prefs.path()))
    app = BrowserApp(
        RunFolder(Path(arguments[0])),
        readonly="--control" not in arguments[1:],
        palette=palette_for(SEEN, wanted.theme),
        table=table,
    )
    app.run(mouse=wanted.mouse)
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
