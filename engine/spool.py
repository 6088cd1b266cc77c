"""The spool: a scorer that is reached only by moving files. The host's questions become letters in a folder.

One rule: a result counts only when its seal holds and it is about these very sources, this problem and this scorer;
any other is moved aside and refused with one line.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.record.errors import ScorerError
from engine.scorer import letters

POLL_S = 0.25
SETTLED_S = 2.0
REMIND_S = 15.0
OnEvent = Callable[[Mapping[str, Any]], None]


class Spool:
    """The engine's side of one spool folder. A question waits until its result appears, or it is cancelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._key = letters.key(folder, make=True)
        for name in (letters.REQUESTS, letters.RESULTS):
            (folder / name).mkdir(exist_ok=True)

    @property
    def place(self) -> str:
        """The host behind a spool is one."""
        return "spool"

    async def ask(self, op: str, fields: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        """Write one request and wait for its result. Raises ScorerError for the host's error, or a result refused."""
        name = f"{time.strftime('%m%d-%H%M%S')}-{op}-{secrets.token_hex(4)}.json"
        request = self.folder / letters.REQUESTS / name
        letter = await asyncio.to_thread(letter_of, name.removesuffix(".json"), op, fields)
        letters.write(request, letter, self._key)
        try:
            return await self._wait(self.folder / letters.RESULTS / name, letter, on_event)
        finally:
            request.unlink(missing_ok=True)

    async def _wait(self, path: Path, letter: Mapping[str, Any], on_event: OnEvent | None) -> Mapping[str, Any]:
        begin, reminded = time.monotonic(), float("-inf")
        while not _settled(path):
            if on_event is not None and time.monotonic() - reminded >= REMIND_S:
                reminded = time.monotonic()
                text = f"waiting {reminded - begin:.0f} s for {path.name} in {path.parent}"
                event = {"event": "progress", "phase": "spool", "configuration": None, "done": 0, "of": 1}
                on_event({**event, "text": text})
            await asyncio.sleep(POLL_S)
        return self._take(path, letter)

    def _take(self, path: Path, letter: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result in a letter that arrived; one that is not to be trusted is kept aside."""
        try:
            found = letters.read(path, self._key)
            _check(found, letter, letters.seal(letter, self._key))
        except ScorerError as error:
            aside = self.folder / letters.REFUSED / path.name
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
            raise ScorerError(f"a result from the spool was refused: {error}") from None
        path.unlink(missing_ok=True)
        if "error" in found:
            raise ScorerError(str(found["error"]))
        value: Mapping[str, Any] = found["result"]
        return value


def letter_of(name: str, op: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The request with all that the other host needs, and the hashes of it."""
    given = [str(fields["source"])] if "source" in fields else [str(s) for s in fields.get("sources") or ()]
    sources = [letters.pack_source(Path(s)) for s in given if not s.startswith("baseline:")]
    folder = Path(str(fields["problem"])).resolve()
    problem = letters.pack_problem(folder)
    hashes = {
        "sources": [letters.digest(s["files"]) for s in sources],
        "problem": letters.digest(problem),
        "scorer": letters.fingerprint(),
    }
    carried = {"op": op, **fields, "problem": folder.name}
    return {
        "format": letters.FORMAT, "id": name, "hashes": hashes, "fields": carried, "sources": sources,
        "problem": problem,
    }  # fmt: skip


def _check(found: Mapping[str, Any], letter: Mapping[str, Any], request_seal: str) -> None:
    """Raise ScorerError when a result does not answer this letter, or comes from another version of the scorer."""
    hashes, mine = found.get("hashes") or {}, letter["hashes"]
    if found.get("id") != letter["id"] or found.get("request") != request_seal or hashes != mine:
        wrong = next((n for n in ("sources", "problem", "scorer") if hashes.get(n) != mine[n]), "request")
        raise ScorerError(f"{letter['id']}.json is about {'other' if wrong == 'sources' else 'another'} {wrong}")
    if "error" not in found and found.get("scorer") != mine["scorer"]:
        other = str(found.get("scorer"))[:12]
        raise ScorerError(f"it was measured by another version of the scorer ({other}, not {mine['scorer'][:12]})")


def _settled(path: Path) -> bool:
    """Whether a file has arrived whole: it reads as JSON to its end, or has not grown for a while."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 1))
            return file.read(1) == b"}" or time.time() - path.stat().st_mtime > SETTLED_S
    except OSError:
        return False
