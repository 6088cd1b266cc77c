"""Letters: one request, or its result, as one file that can be carried between hosts by any means.

One rule: a letter proves what it is about. It carries the hashes of sources, problem and scorer, and a seal
(HMAC-SHA256 over all of it) under the spool's key, so that one that was edited, cut short or made for something else
is told apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from engine.record.errors import ScorerError
from engine.scorer import intake

FORMAT = 1
REQUESTS, RESULTS, REFUSED, KEY = "requests", "results", "refused", "key"
_PACKAGE = Path(__file__).resolve().parent
_RECORD = ("scores.py", "errors.py")
_CODE = (".py", ".c", ".h", ".cu")

Files = dict[str, str]


@cache
def fingerprint() -> str:
    """The hash of the scorer itself: every file of its code, and what it shares with the engine."""
    digest = hashlib.sha256()
    record = [_PACKAGE.parent / "record" / name for name in _RECORD]
    for path in sorted(p for p in (*_PACKAGE.rglob("*"), *record) if p.suffix in _CODE):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(_PACKAGE.parent)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def key(spool: Path, *, make: bool) -> bytes:
    """The spool's key, 32 bytes. Only the engine's side makes one; a person carries it over once."""
    path = spool / KEY
    try:
        if make and not path.exists():
            spool.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32) + "\n")
        return bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError as error:
        raise ScorerError(f"{path} is missing; copy it once from the spool folder of the run's machine") from error
    except (OSError, ValueError) as error:
        raise ScorerError(f"{path} cannot be used: {error}") from error


def seal(letter: Mapping[str, Any], secret: bytes) -> str:
    """What `letter` must carry as "seal"."""
    body = {name: value for name, value in letter.items() if name != "seal"}
    return hmac.new(secret, json.dumps(body, sort_keys=True, allow_nan=False).encode(), hashlib.sha256).hexdigest()


def write(path: Path, letter: Mapping[str, Any], secret: bytes) -> None:
    """Seal a letter and put it at `path` whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump({**letter, "seal": seal(letter, secret)}, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: Path, secret: bytes) -> dict[str, Any]:
    """A letter whose seal holds. Raises ScorerError, one line, for any other."""
    try:
        letter = json.loads(path.read_bytes())
        given = letter.get("seal", "")
        holds = hmac.compare_digest(str(given), seal(letter, secret))
    except (OSError, ValueError, AttributeError) as error:
        raise ScorerError(f"{path.name} is not a whole letter ({error}); carry it over again") from error
    if not holds:
        raise ScorerError(f"{path.name} was edited, or sealed with another spool's key; it is not used")
    if letter.get("format") != FORMAT:
        raise ScorerError(f"{path.name} has format {letter.get('format')!r}, this scorer knows {FORMAT}")
    return dict(letter)


def pack(folder: Path, names: Sequence[str]) -> Files:
    """Plain files of a folder as base64 by name; links and what is not there are left out."""
    found: Files = {}
    for name in names:
        try:
            fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            continue
        with os.fdopen(fd, "rb") as file:  # one byte too many tells the intake that a file is too large
            found[name] = base64.b64encode(file.read(intake.MAX_BYTES + 1)).decode("ascii")
    return found


def pack_source(source: Path) -> dict[str, Any]:
    """A candidate, a folder or one file, as it is now."""
    if source.is_file():
        return {"name": source.name, "single": True, "files": pack(source.parent, [source.name])}
    listed = sorted(e.name for e in os.scandir(source)) if source.is_dir() else []
    return {"name": source.name, "single": False, "files": pack(source, listed[: 2 * intake.MAX_FILES])}


def pack_problem(folder: Path) -> Files:
    """What the scorer needs of a problem: its figures, its reference, the header and the seed."""
    seed = [f"seed/{p.name}" for p in sorted((folder / "seed").glob("*"))]
    return pack(folder, ["problem.toml", "reference.py", "avo_abi.h", *seed])


def unpack(files: Mapping[str, str], folder: Path) -> None:
    """Write packed files. Raises ScorerError for a name that leads out of the folder."""
    for name, data in files.items():
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            raise ScorerError(f"the letter names a file outside its folder: {name!r}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            (folder / name).write_bytes(base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise ScorerError(f"the letter's file {name!r} is damaged") from error


def digest(files: Mapping[str, str]) -> str:
    """The hash of packed files."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()
