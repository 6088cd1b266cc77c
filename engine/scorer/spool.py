"""`python -m engine.scorer --spool DIR`: serve requests that lie in a folder, for hosts reached only by moving files.

One rule: every letter gets exactly one sealed result that names what it is about; one that cannot be trusted is never
run, and is told about on standard error.

    DIR/key                copied once from the run's machine
    DIR/requests/ID.json   carried here
    DIR/results/ID.json    carried back
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.record.errors import AvoError, ScorerError
from engine.scorer import letters

if TYPE_CHECKING:
    from engine.scorer.serve import Server

POLL_S = 0.5


def serve(server: Server, folder: Path, *, once: bool) -> int:
    """Answer what lies in the folder; with `once` until nothing is left, else for ever. Returns the exit status."""
    secret = letters.key(folder, make=False)
    told: dict[Path, float] = {}
    while True:
        waiting = [p for p in _waiting(folder) if told.get(p) != p.stat().st_mtime]
        for path in waiting:
            stamp = path.stat().st_mtime
            try:
                answer(server, path, folder / letters.RESULTS / path.name, secret)
            except ScorerError as error:
                told[path] = stamp  # perhaps half of it has arrived; it is looked at again when it changes
                print(f"engine.scorer: {error}", file=sys.stderr)
        if once and not waiting:
            return 1 if told else 0
        if not waiting:
            time.sleep(POLL_S)


def answer(server: Server, request: Path, result: Path, secret: bytes) -> None:
    """Answer one letter. Raises ScorerError when it is not a letter to be trusted."""
    letter = letters.read(request, secret)
    about = {name: letter[name] for name in ("id", "hashes")}
    reply = {"format": letters.FORMAT, **about, "request": letter["seal"], "scorer": letters.fingerprint()}
    letters.write(result, {**reply, **_outcome(server, letter)}, secret)


def _waiting(folder: Path) -> list[Path]:
    found = sorted((folder / letters.REQUESTS).glob("*.json"))
    return [p for p in found if not (folder / letters.RESULTS / p.name).exists()]


def _outcome(server: Server, letter: Mapping[str, Any]) -> dict[str, Any]:
    """{"result"} or {"error"}; a candidate's failure is a result."""
    mine, wanted = letters.fingerprint(), str(letter["hashes"]["scorer"])
    if mine != wanted:
        said = f"the host's scorer is another version ({mine[:12]}, the run has {wanted[:12]})"
        return {"error": f"{said}; copy the run's engine/ folder there and start it again"}
    with tempfile.TemporaryDirectory(prefix="avo-letter-") as place:
        try:
            return {"result": server.answer(placed(letter, Path(place)), lambda _: None)}
        except AvoError as error:
            return {"error": str(error)}
        except Exception as error:  # our failure must travel back as one line, and not end the service
            import traceback

            traceback.print_exc()
            return {"error": f"the scorer failed: {type(error).__name__}: {error}"}


def placed(letter: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """The request with its files on this host's disk, each under the hash of what it holds, written once."""
    fields = dict(letter["fields"])
    problem = place / letters.digest(letter["problem"])[:24] / str(fields["problem"])
    if not problem.is_dir():
        letters.unpack(letter["problem"], problem)
    fields["problem"] = str(problem)
    paths = [str(_placed(source, place)) for source in letter["sources"]]
    if "source" in fields:
        fields["source"] = paths[0]
    if "sources" in fields:
        named = iter(paths)
        fields["sources"] = [str(s) if str(s).startswith("baseline:") else next(named) for s in fields["sources"]]
    return fields


def _placed(source: Mapping[str, Any], place: Path) -> Path:
    name = Path(str(source["name"])).name or "candidate"
    home = place / letters.digest(source["files"])[:24]
    folder = home if source["single"] else home / name
    if not (home / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        letters.unpack(source["files"], folder)
    return home / name


def main(server: Server, arguments: list[str]) -> int:
    """The command line after `--spool`: DIR [--once]."""
    if not arguments or arguments[0].startswith("-") or arguments[1:] not in ([], ["--once"]):
        print("engine.scorer: --spool takes a folder, and --once to end when nothing waits", file=sys.stderr)
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        try:
            return serve(server, Path(arguments[0]).absolute(), once="--once" in arguments)
        except AvoError as error:
            print(f"engine.scorer: {error}", file=sys.stderr)
            return error.exit_code
    return os.EX_OK
