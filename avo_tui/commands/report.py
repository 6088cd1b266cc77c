"""`avo report`: a run's figures and tables, to be read, sent and printed."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json
from avo_tui.commands.replay import laid_out, recorded
from avo_tui.summary import Summaries
from engine.record.errors import Refused
from engine.record.run import RunFolder


def report(arguments: Namespace) -> int:
    """`avo report RUN -o DIR`: index.html, PNG, CSV and JSON. RUN may be an archive or a recorded run, as in replay."""
    from avo_tui.report import png
    from avo_tui.report.files import write

    source, directory = recorded(arguments.run, arguments.runs), Path(arguments.output).expanduser().absolute()
    if directory.exists() and not directory.is_dir():
        raise Refused(f"{directory} is a file; -o names a folder")
    if isinstance(source, RunFolder) and directory.is_relative_to(source.path):
        raise Refused(f"{directory} lies inside the run's own folder; name another one")
    with laid_out(source) as folder, Summaries(folder) as summaries:
        written = write(summaries, directory)
    if arguments.json:
        print_json({"run": folder.name, "directory": str(directory), "files": [p.name for p in written]})
    else:
        print(f"report of {folder.name} in {directory}: {', '.join(p.name for p in written)}")
    if not png.available():
        print(f"avo: {png.INSTALL}", file=sys.stderr)
    return 0
