"""Archives: a run as one file (or one small folder) that can be kept, sent and restored elsewhere.

One rule: what was packed is what is restored. A manifest names every file with its hash, and nothing that fails it,
or that the manifest does not name, is written.

    manifest.json  config.toml  journal.db (checkpointed)  lineage.bundle (git, every ref)  artifacts/ and the rest
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from engine.data import kernels_directory
from engine.private import without_secrets
from engine.record import config
from engine.record.errors import ConfigError, LineageError, Refused
from engine.record.frozen import dataclass
from engine.record.journal import connect
from engine.record.run import LOGS_DROPPED, SUMS, RunFolder
from engine.scorer import tree

FORMAT = 1
Choice = Literal["all", "logs", "none"]
BUNDLE, MANIFEST = "lineage.bundle", "manifest.json"
MAX_FILE_BYTES = 1 << 30
# Made anew by the engine, alive only on its machine, or packed in another form.
_LEFT_OUT = frozenset({"lineage", "workspace", "journal.db", "engine.lock", "engine.log", "engine.log.1.gz"})
_LIVE = frozenset({".pid", ".sock", ".lock", ".part", ".new"})
# What a choice of artifacts leaves out: the sources of every attempt are the bulk, the logs are what people read.
_CHOSEN = {"all": (), "logs": ("artifacts/candidates",), "none": ("artifacts",)}


@dataclass(frozen=True, slots=True)
class Archived:
    """What was packed or restored: where it lies, the run's name, how many files and bytes."""

    path: Path
    run: str
    files: int
    size_bytes: int


def pack(run: RunFolder, file: Path, *, forget: Sequence[str] = (), artifacts: Choice = "all") -> Archived:
    """Write a run as a .tar.gz; the run may be alive. `forget` as in `lay_out`, `artifacts` says which to keep."""
    with tempfile.TemporaryDirectory(prefix="avo-archive-") as place:
        laid = lay_out(run, Path(place) / run.name, forget=forget, leave_out=_CHOSEN[artifacts])
        fd, name = tempfile.mkstemp(dir=_parent(file), prefix=f".{file.name}-")
        try:
            with os.fdopen(fd, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz", compresslevel=6) as tar:
                tar.add(laid.path, arcname=run.name)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return replace(laid, path=file, size_bytes=file.stat().st_size)


def lay_out(run: RunFolder, target: Path, *, forget: Sequence[str] = (), leave_out: Sequence[str] = ()) -> Archived:
    """The archive as a folder. `forget` are texts (a path, a name) to leave out of the journal, the configuration, the
    run's own pages and the commit messages; commits get other ids then, and the journal follows. `leave_out` are files
    or folders.

    The machine that the run was on (host, pid) is never kept. Raises Refused when `target` exists.
    The journal is copied first, at one moment of it; then what it names, which is written before it is named.
    """
    if target.exists():
        raise Refused(f"{target} exists already; name another place")
    target.mkdir(parents=True)
    _copy_journal(run.journal, target / "journal.db")
    known, head = _versions_of(target / "journal.db")
    renamed = _bundle(run.lineage, target / BUNDLE, forget, known, head) if run.lineage.is_dir() else {}
    skipped = {*_LEFT_OUT, *leave_out}
    for path in _files(run.path, skipped):
        copy = target / path.relative_to(run.path)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the engine at work took it away meanwhile
            shutil.copyfile(path, copy)
    _clean_sums(run.artifacts, target / "artifacts" / SUMS)
    _clean_journal(target / "journal.db", {**dict.fromkeys(forget, ""), **renamed})
    if "artifacts" in skipped:
        with contextlib.closing(sqlite3.connect(target / "journal.db", isolation_level=None)) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (LOGS_DROPPED, repr(time.time())))
    for path in (target / "config.toml", *sorted((target / "knowledge").glob("*.md"))):
        _clean_text(path, forget)
    return _sealed(target, run.name)


def unpack(source: Path, runs: Path, name: str | None = None) -> Archived:
    """Restore an archive (a file or a folder) as a run in `runs`. Raises Refused when it was damaged or edited."""
    runs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs, prefix=".restore-") as place:
        made = RunFolder(Path(place) / "run")
        hashes = _extract(source, made.path)
        run, wanted = _manifest(made.path, source)
        folder = RunFolder(runs / (name or run))
        if folder.path.exists():
            again = "restore it under another name with --name"
            raise Refused(f"a run {folder.name!r} exists already in {runs}; {again}")
        if bad := _unlike(hashes, wanted):
            raise Refused(f"{source} was damaged or edited: {bad[0]}")
        for needed in ("journal.db", "config.toml"):
            if needed not in wanted:
                raise Refused(f"{source} is no archive of a run: it has no {needed}")
        size = sum((made.path / file).stat().st_size for file in wanted)
        for file in set(hashes) - set(wanted):
            (made.path / file).unlink()
        if (made.path / BUNDLE).exists():
            _unbundle(made.path / BUNDLE, made.lineage)
            (made.path / BUNDLE).unlink()
        for needed_folder in (made.workspace, made.artifacts):
            needed_folder.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.utime(made.artifacts / SUMS)  # every file was held against the manifest: none was written after its hash
        connect(made.journal, write=False).close()
        _place_problem(made.config)
        made.path.rename(folder.path)
    return Archived(folder.path, folder.name, len(wanted), size)


def damage(source: Path) -> tuple[int, list[str]]:
    """How many files an archive should hold, and a sentence on each that is not what was packed."""
    with tempfile.TemporaryDirectory(prefix="avo-verify-") as place:
        try:
            hashes = _extract(source, Path(place) / "run")
            _, wanted = _manifest(Path(place) / "run", source)
        except Refused as refused:
            return 0, [str(refused)]
    return len(wanted), _unlike(hashes, wanted)


# --- packing -------------------------------------------------------------------------------


def _files(root: Path, skipped: set[str]) -> Iterator[Path]:
    """Plain files of a run, in order; links and sockets are not followed."""
    for folder, folders, names in tree.walk(root):
        at = Path(folder)
        folders[:] = sorted(f for f in folders if (at / f).relative_to(root).as_posix() not in skipped)
        for name in sorted(names):
            path = at / name
            inside = path.relative_to(root).as_posix()
            plain = path.is_file() and not path.is_symlink()
            aside = name.startswith(("journal.db-", "journal.db."))  # SQLite's own, and what an upgrade left
            if plain and inside not in skipped and path.suffix not in _LIVE and not aside:
                yield path


def _versions_of(journal: Path) -> tuple[frozenset[int], int | None]:
    """The versions that a journal knows, and its head."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        known = frozenset(int(row[0]) for row in db.execute("SELECT version FROM versions"))
        (head,) = db.execute("SELECT value FROM meta WHERE key = 'head'").fetchone()
    return known, int(head) if head else None


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


def rewritten(artifacts: Path, name: str) -> bool:
    """Whether a log was written again, compressed or taken away since the hashes of all logs were written down."""
    try:
        return (artifacts / name).stat().st_mtime > (artifacts / SUMS).stat().st_mtime
    except FileNotFoundError:
        return True


def _clean_sums(artifacts: Path, copy: Path) -> None:
    """Leave out hashes of logs that a living engine has written again, and of those that were not copied."""
    if copy.exists():
        lines = copy.read_text("utf-8").splitlines(keepends=True)
        names = {line: line[66:].rstrip("\n") for line in lines}
        kept = [ln for ln in lines if (copy.parent / names[ln]).exists() and not rewritten(artifacts, names[ln])]
        copy.write_text("".join(kept), "utf-8")


def _clean_text(path: Path, forget: Sequence[str]) -> None:
    if not forget or not path.exists():
        return
    text = path.read_text("utf-8")
    for word in forget:
        text = text.replace(word, "")
    path.write_text(text, "utf-8")


def _bundle(
    lineage: Path, target: Path, forget: Sequence[str], known: frozenset[int], head: int | None
) -> dict[str, str]:
    """Write the journal's versions as one git bundle; returns what commits became when messages had to change.

    A live run may have committed more than the copied journal knows: that is left out, and the head is the journal's.
    """
    if not known:
        return {}
    with tempfile.TemporaryDirectory(prefix="avo-lineage-") as place:
        copy = Path(place) / "copy"
        try:
            git("clone", "--quiet", "--mirror", "--no-local", str(lineage), str(copy))
        except GitFailed as error:
            raise LineageError(f"{lineage} is damaged; 'avo verify' says where, and nothing was written") from error
        for ref in git("-C", str(copy), "for-each-ref", "--format=%(refname)", "refs/avo").split():
            if ref.rpartition("/v")[2] not in {str(v) for v in known}:
                git("-C", str(copy), "update-ref", "-d", ref)
        if head is not None:
            git("-C", str(copy), "update-ref", "refs/heads/main", f"refs/avo/v{head}")
        renamed = _rewrite(copy, forget) if forget else {}
        git("-C", str(copy), "bundle", "create", "--quiet", str(target), "--all")
    return renamed


def _rewrite(repository: Path, forget: Sequence[str]) -> dict[str, str]:
    """Leave texts out of the messages; every commit after a changed one gets another id. {old: new}, changed ones."""
    at = ("-C", str(repository))
    became: dict[str, str] = {}
    for old in git(*at, "rev-list", "--reverse", "--topo-order", "--all").split():
        head, message = git(*at, "cat-file", "commit", old).split("\n\n", 1)
        for word in forget:
            message = message.replace(word, "")
        for before, after in became.items():
            head = head.replace(before, after)
        new = git(*at, "hash-object", "-t", "commit", "-w", "--stdin", data=f"{head}\n\n{message}").strip()
        if new != old:
            became[old] = new
    for line in git(*at, "for-each-ref", "--format=%(objectname) %(refname)").splitlines():
        commit, ref = line.split(" ", 1)
        if commit in became:
            git(*at, "update-ref", ref, became[commit])
    return became


def _sealed(target: Path, run: str) -> Archived:
    named = {p.relative_to(target).as_posix(): p for p in _files(target, set())}
    hashes = {name: digest(path) for name, path in named.items()}
    text = json.dumps({"format": FORMAT, "run": run, "files": hashes}, indent=1, sort_keys=True)
    (target / MANIFEST).write_text(text + "\n", "utf-8")
    return Archived(target, run, len(named), sum(p.stat().st_size for p in named.values()))


def digest(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- restoring -----------------------------------------------------------------------------


def _extract(source: Path, target: Path) -> dict[str, str]:
    """Copy an archive's plain files into a new private folder; {name: sha256}. Odd names, links, devices are not."""
    target.mkdir(mode=0o700)
    if source.is_dir():
        for path in _files(source, set()):
            _place(target, path.relative_to(source).parts, path.open("rb"))
    else:
        _untar(source, target)
    return {p.relative_to(target).as_posix(): digest(p) for p in _files(target, set())}


def _untar(source: Path, target: Path) -> None:
    try:
        with tarfile.open(source, "r:gz") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts[1:]
                stream = tar.extractfile(member) if member.isreg() else None
                if stream is not None and parts and ".." not in parts and member.size <= MAX_FILE_BYTES:
                    _place(target, parts, stream)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise Refused(f"{source} cannot be read as an archive: {error}") from error


def _place(target: Path, parts: tuple[str, ...], stream: IO[bytes]) -> None:
    path = target.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file)


def _manifest(folder: Path, source: Path) -> tuple[str, dict[str, str]]:
    """The run's name, and the hash of each file that was packed."""
    try:
        value = json.loads((folder / MANIFEST).read_text("utf-8"))
        found, run, hashes = int(value["format"]), str(value["run"]), dict(value["files"])
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise Refused(f"{source} is no archive of a run: its {MANIFEST} is missing or damaged") from error
    if found > FORMAT:
        raise Refused(f"{source} has format {found}, this AVO reads up to {FORMAT}; upgrade avo-tui")
    if outside := [n for n in hashes if PurePosixPath(n).is_absolute() or ".." in PurePosixPath(n).parts]:
        raise Refused(f"{source} names a file outside the run: {outside[0]!r}")
    if PurePosixPath(run).name != run or run.startswith("."):
        raise Refused(f"{source} names a run that cannot be: {run!r}")
    return run, hashes


def _unlike(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """A sentence on each file that is not the one that was packed."""
    lost = [f"{name} is missing" for name in sorted(set(wanted) - set(found))]
    return lost + [
        f"{n} is not the file that was packed" for n in sorted(wanted) if found.get(n, wanted[n]) != wanted[n]
    ]


def _unbundle(bundle: Path, lineage: Path) -> None:
    git("init", "--quiet", "--bare", "--initial-branch=main", "--template=", str(lineage))
    git("-C", str(lineage), "fetch", "--quiet", str(bundle), "+refs/*:refs/*")


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


class GitFailed(LineageError):
    """git ended with an error; `output` is all that it said."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(f"git {what} failed: {(output.strip().splitlines() or ['it said nothing'])[-1]}")
        self.output = output


def git(*arguments: str, data: str | None = None) -> str:
    """Run git without the person's settings; its output. Raises GitFailed."""
    environment = {k: v for k, v in without_secrets(os.environ).items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments],
            input=data, capture_output=True, text=True, env=environment, check=False,
        )  # fmt: skip
    except OSError as error:
        raise LineageError(f"git cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise GitFailed(next((a for a in arguments if a[:1] not in "-/"), "git"), done.stdout + done.stderr)
    return done.stdout
