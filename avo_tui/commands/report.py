"""`avo report`: a run's figures and tables, to be read, sent and printed."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json, run_of
from avo_tui.summary import Summaries
from engine.record.errors import Refused


def report(arguments: Namespace) -> int:
    """`avo report RUN -o DIR`: index.html, PNG, CSV and JSON."""
    from avo_tui.report import png
    from avo_tui.report.files import write

    folder, directory = run_of(arguments), Path(arguments.output).expanduser().absolute()
    if directory.exists() and not directory.is_dir():
        raise Refused(f"{directory} is a file; -o names a folder")
    if directory.is_relative_to(folder.path):
        raise Refused(f"{directory} lies inside the run's own folder; name another one")
    with Summaries(folder) as summaries:
        written = write(summaries, directory)
    if arguments.json:
        print_json({"run": folder.name, "directory": str(directory), "files": [p.name for p in written]})
    else:
        print(f"report of {folder.name} in {directory}: {', '.join(p.name for p in written)}")
    if not png.available():
        print(f"avo: {png.INSTALL}", file=sys.stderr)
    return 0
