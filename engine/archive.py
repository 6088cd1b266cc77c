"""Archives: a run as one file (or one small folder) that can be kept, sent and restored elsewhere.

One rule: what was packed is what is restored. A manifest names every file with its hash, and nothing that fails it,
or that the manifest does not name, is written.

    manifest.json  config.toml  journal.db (checkpointed)  lineage.bundle (git, every ref)  artifacts/ and the rest
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from engine.data import kernels_directory
from engine.record import config
from engine.record.errors import ConfigError, LineageError, Refused
from engine.record.journal import connect
from engine.record.run import RunFolder

FORMAT = 1
BUNDLE, MANIFEST = "lineage.bundle", "manifest.json"
MAX_FILE_BYTES = 1 << 30
# Made anew by the engine, alive only on its machine, or packed in another form.
_LEFT_OUT = frozenset({"lineage", "workspace", "journal.db", "engine.lock", "engine.log"})
_LIVE = frozenset({".pid", ".sock", ".lock"})


@dataclass(frozen=True, slots=True)
class Archived:
    """What was packed or restored: where it lies, the run's name, how many files and bytes."""

    path: Path
    run: str
    files: int
    size_bytes: int


def pack(run: RunFolder, file: Path, *, forget: Sequence[str] = ()) -> Archived:
    """Write a run as a .tar.gz; the run may be alive. `forget` as in `lay_out`."""
    with tempfile.TemporaryDirectory(prefix="avo-archive-") as place:
        laid = lay_out(run, Path(place) / run.name, forget=forget)
        fd, name = tempfile.mkstemp(dir=_parent(file), prefix=f".{file.name}-")
        try:
            with os.fdopen(fd, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as tar:
                tar.add(laid.path, arcname=run.name)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return replace(laid, path=file, size_bytes=file.stat().st_size)


def lay_out(run: RunFolder, target: Path, *, forget: Sequence[str] = (), leave_out: Sequence[str] = ()) -> Archived:
    """The archive as a folder. `forget` are texts (a path, a name) to leave out of the journal, the configuration and
    the commit messages; commits get other ids then, and the journal follows. `leave_out` are files or folders.

    The machine that the run was on (host, pid) is never kept. Raises Refused when `target` exists.
    """
    if target.exists():
        raise Refused(f"{target} exists already; name another place")
    target.mkdir(parents=True)
    skipped = {*_LEFT_OUT, *leave_out}
    for path in _files(run.path, skipped):
        copy = target / path.relative_to(run.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    _copy_journal(run.journal, target / "journal.db")
    renamed = _bundle(run.lineage, target / BUNDLE, forget) if run.lineage.is_dir() else {}
    _clean_journal(target / "journal.db", {**dict.fromkeys(forget, ""), **renamed})
    _clean_config(target / "config.toml", forget)
    return _sealed(target, run.name)


def unpack(source: Path, runs: Path, name: str | None = None) -> Archived:
    """Restore an archive (a file or a folder) as a run in `runs`. Raises Refused when it was damaged or edited."""
    files = _read_folder(source) if source.is_dir() else _read_tar(source)
    run, wanted = _manifest(files, source)
    folder = RunFolder(runs / (name or run))
    if folder.path.exists():
        raise Refused(f"a run {folder.name!r} exists already in {runs}; restore it under another name with --name")
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs, prefix=".restore-") as place:
        made = RunFolder(Path(place) / folder.name)
        made.path.mkdir(mode=0o700)
        for file in wanted:
            path = made.path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[file])
        if (made.path / BUNDLE).exists():
            _unbundle(made.path / BUNDLE, made.lineage)
            (made.path / BUNDLE).unlink()
        for needed in (made.workspace, made.artifacts):
            needed.mkdir(mode=0o700, exist_ok=True)
        connect(made.journal, write=False).close()
        _place_problem(made.config)
        made.path.rename(folder.path)
    return Archived(folder.path, folder.name, len(wanted), sum(len(files[f]) for f in wanted))


# --- packing -------------------------------------------------------------------------------


def _files(root: Path, skipped: set[str]) -> Iterator[Path]:
    """Plain files of a run, in order; links and sockets are not followed."""
    for folder, folders, names in os.walk(root):
        at = Path(folder)
        folders[:] = sorted(f for f in folders if (at / f).relative_to(root).as_posix() not in skipped)
        for name in sorted(names):
            path = at / name
            inside = path.relative_to(root).as_posix()
            plain = path.is_file() and not path.is_symlink()
            if plain and inside not in skipped and path.suffix not in _LIVE and not name.startswith("journal.db-"):
                yield path


def _copy_journal(journal: Path, target: Path) -> None:
    """One consistent file without a write-ahead log, also while an engine writes."""
    with contextlib.closing(connect(journal, write=False)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    with contextlib.closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA journal_mode = DELETE")


def _clean_journal(journal: Path, changes: Mapping[str, str]) -> None:
    with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.execute("UPDATE engine SET pid = 0, boot = '', host = ''")
        db.execute("UPDATE events SET data = json_set(data, '$.host', '', '$.pid', 0) WHERE kind = 'run_started'")
        for table, column in _text_columns(db):
            for old, new in changes.items():
                db.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)", (old, new, old)
                )
        db.execute("COMMIT")
        db.execute("VACUUM")


def _text_columns(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Where texts lie, less the full-text index, which holds words only."""
    listed = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'search%' AND name NOT LIKE 'sqlite_%'"
    )
    tables = [row[0] for row in db.execute(listed)]
    return [(t, c[1]) for t in tables for c in db.execute(f"PRAGMA table_info({t})").fetchall() if c[2] == "TEXT"]


def _clean_config(path: Path, forget: Sequence[str]) -> None:
    if not forget or not path.exists():
        return
    text = path.read_text("utf-8")
    for word in forget:
        text = text.replace(word, "")
    path.write_text(text, "utf-8")


def _bundle(lineage: Path, target: Path, forget: Sequence[str]) -> dict[str, str]:
    """Write every ref as one git bundle; returns what commits became when messages had to change."""
    with tempfile.TemporaryDirectory(prefix="avo-lineage-") as place:
        copy = Path(place) / "copy"
        _git("clone", "--quiet", "--mirror", str(lineage), str(copy))
        renamed = _rewrite(copy, forget) if forget else {}
        _git("-C", str(copy), "bundle", "create", "--quiet", str(target), "--all")
    return renamed


def _rewrite(repository: Path, forget: Sequence[str]) -> dict[str, str]:
    """Leave texts out of the messages; every commit after a changed one gets another id. {old: new}, changed ones."""
    at = ("-C", str(repository))
    became: dict[str, str] = {}
    for old in _git(*at, "rev-list", "--reverse", "--topo-order", "--all").split():
        head, message = _git(*at, "cat-file", "commit", old).split("\n\n", 1)
        for word in forget:
            message = message.replace(word, "")
        for before, after in became.items():
            head = head.replace(before, after)
        new = _git(*at, "hash-object", "-t", "commit", "-w", "--stdin", data=f"{head}\n\n{message}").strip()
        if new != old:
            became[old] = new
    for line in _git(*at, "for-each-ref", "--format=%(objectname) %(refname)").splitlines():
        commit, ref = line.split(" ", 1)
        if commit in became:
            _git(*at, "update-ref", ref, became[commit])
    return became


def _sealed(target: Path, run: str) -> Archived:
    named = {p.relative_to(target).as_posix(): p.read_bytes() for p in _files(target, set())}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in named.items()}
    text = json.dumps({"format": FORMAT, "run": run, "files": hashes}, indent=1, sort_keys=True)
    (target / MANIFEST).write_text(text + "\n", "utf-8")
    return Archived(target, run, len(named), sum(map(len, named.values())))


# --- restoring -----------------------------------------------------------------------------


def _read_folder(source: Path) -> dict[str, bytes]:
    return {p.relative_to(source).as_posix(): p.read_bytes() for p in _files(source, set())}


def _read_tar(source: Path) -> dict[str, bytes]:
    """Plain members by name without their first folder; links, devices and odd names are left out."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(source, "r:gz") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts[1:]
                if member.isreg() and parts and member.size <= MAX_FILE_BYTES:
                    stream = tar.extractfile(member) or io.BytesIO()
                    found["/".join(parts)] = stream.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise Refused(f"{source} cannot be read as an archive: {error}") from error
    return found


def _manifest(files: Mapping[str, bytes], source: Path) -> tuple[str, list[str]]:
    """The run's name and the files to write, each proved to be the one that was packed."""
    try:
        value = json.loads(files[MANIFEST])
        found, run, hashes = int(value["format"]), str(value["run"]), dict(value["files"])
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(f"{source} is no archive of a run: its {MANIFEST} is missing or damaged") from error
    if found > FORMAT:
        raise Refused(f"{source} has format {found}, this AVO reads up to {FORMAT}; upgrade avo-tui")
    if outside := [n for n in hashes if PurePosixPath(n).is_absolute() or ".." in PurePosixPath(n).parts]:
        raise Refused(f"{source} names a file outside the run: {outside[0]!r}")
    for name, wanted in hashes.items():
        if name not in files or hashlib.sha256(files[name]).hexdigest() != wanted:
            raise Refused(f"{source} was damaged or edited: {name} is not the file that was packed")
    for needed in ("journal.db", "config.toml"):
        if needed not in hashes:
            raise Refused(f"{source} is no archive of a run: it has no {needed}")
    if PurePosixPath(run).name != run or run.startswith("."):
        raise Refused(f"{source} names a run that cannot be: {run!r}")
    return run, list(hashes)


def _unbundle(bundle: Path, lineage: Path) -> None:
    _git("init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(lineage))
    _git("-C", str(lineage), "fetch", "--quiet", str(bundle), "+refs/*:refs/*")


def _place_problem(path: Path) -> None:
    """Point the configuration at this machine's copy of a shipped problem, when its own path leads nowhere."""
    with contextlib.suppress(ConfigError):  # an older or foreign configuration is restored as it is
        found = config.load(path)
        here = kernels_directory() / found.problem
        if not Path(found.problem_path).is_absolute() or not Path(found.problem_path).is_dir():
            config.save(replace(found, problem_path=str(here if here.is_dir() else found.problem_path)), path)


# --- both ----------------------------------------------------------------------------------


def _parent(file: Path) -> Path:
    if not file.parent.is_dir():
        raise Refused(f"{file.parent} is no folder; make it first")
    return file.parent


def _git(*arguments: str, data: str | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments],
            input=data, capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
    except OSError as error:
        raise LineageError(f"git cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise LineageError(f"git {arguments[0]} failed: {done.stderr.strip().splitlines()[-1:] or ['']}")
    return done.stdout
