"""Verifying: a run or an archive held against its own hashes, and what is wrong with it in lines."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json, verdict
from engine.record.run import find_run, runs_directory


def verify(arguments: Namespace) -> int:
    """`avo verify RUN|FILE`: exit 0 when everything is whole, 1 when something is not; each wrong thing in one line."""
    from engine.verify import verify_archive, verify_run

    given = Path(arguments.run).expanduser()
    packed = given.is_file() or (given / "manifest.json").is_file()
    if packed:
        found = verify_archive(given.absolute())
    else:
        found = verify_run(find_run(runs_directory(arguments.runs), arguments.run))
    with verdict():
        if arguments.json:
            rows = [{"part": f.part, "what": f.what, "do": f.mend} for f in found.findings]
            print_json({"run": found.run, "ok": not rows, "checked": dict(found.checked), "findings": rows})
        else:
            for finding in found.findings:
                print(finding)
            looked = ", ".join(f"{count:,} {what}" for what, count in found.checked.items())
            wrong = len(found.findings)
            print(f"{found.run}: {looked} checked; {f'{wrong} wrong' if wrong else 'all is well'}")
    return 1 if found.findings else 0
