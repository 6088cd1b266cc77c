"""Verify: is everything that a run wrote still there, whole, and does it agree with itself?

One rule: nothing is changed, and every wrong thing is named in one line with what to do about it.
The journal is held against its own events, the lineage against the journal, the artifacts against their hashes.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import sqlite3
import stat
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from engine import archive, intake
from engine.lineage import Lineage
from engine.record import config, schema
from engine.record.errors import AvoError, ConfigError, JournalError, JournalNewer, LineageError, Refused
from engine.record.frozen import dataclass
from engine.record.journal import connect
from engine.record.liveness import engine_alive
from engine.record.reader import Reader, Version
from engine.record.run import LOGS_DROPPED, SUMS, RunFolder

BACKUP = "bring the run back from an archive ('avo restore FILE --name OTHER')"
CANDIDATE_NAME = 24
FSCK_LINES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One wrong thing: in which part of the run, what, and what to do."""

    part: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.part}: {self.what}; {self.mend}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at (how many of each) and what is wrong; nothing when all is well."""

    run: str
    checked: Mapping[str, int]
    findings: tuple[Finding, ...]


def verify_run(run: RunFolder) -> Verified:
    """Check a run in its folder; its engine may be at work."""
    checked: dict[str, int] = {}
    findings = [*_folder(run), *_config(run)]
    living = False
    try:
        with Reader(run.journal) as reader:
            living = engine_alive(reader.engine())
            findings += _journal(run, checked)
            findings += _lineage(run, reader, checked)
            findings += _named_logs(run, reader)
    except JournalNewer as error:
        findings.append(Finding("journal", _line(error), "upgrade avo-tui; nothing is wrong with the run"))
    except (AvoError, sqlite3.Error) as error:
        findings.append(Finding("journal", _line(error), BACKUP))
        findings += _fsck(run)
    findings += _artifacts(run, checked, living=living)
    return Verified(run.name, checked, tuple(findings))


def verify_archive(source: Path) -> Verified:
    """Check an archive: each file against the manifest, then the run inside. Writes only to a temporary folder."""
    packed, findings = archive.damage(source)
    found = [Finding("archive", what, "use another copy of it, or archive the run again") for what in findings]
    if found:
        return Verified(source.name, {"files": packed}, tuple(found))
    with tempfile.TemporaryDirectory(prefix="avo-verify-") as place:
        try:
            made = archive.unpack(source, Path(place))
        except (AvoError, OSError, sqlite3.Error) as error:
            return Verified(source.name, {"files": packed}, (Finding("archive", _line(error), "use another copy"),))
        inside = verify_run(RunFolder(made.path))
        return replace(inside, checked={"files": packed, **inside.checked})


# --- the folder ----------------------------------------------------------------------------


def _folder(run: RunFolder) -> Iterator[Finding]:
    mode = stat.S_IMODE(run.path.stat().st_mode)
    if mode & 0o077:
        yield Finding("folder", f"{run.path} is open to others ({mode:04o})", f"chmod 700 {run.path}")
    for needed in (run.workspace, run.artifacts):
        if not needed.is_dir():
            yield Finding("folder", f"{needed.name}/ is missing", f"'avo resume {run.name}' makes it again")


def _config(run: RunFolder) -> Iterator[Finding]:
    try:
        found = config.load(run.config)
    except ConfigError as error:
        yield Finding("config.toml", _line(error), "mend the line, or take config.toml from an archive")
        return
    if not (Path(found.problem_path) / "problem.toml").is_file():
        where = f"the problem's folder {found.problem_path} is gone"
        yield Finding("config.toml", where, "bring it back, or change problem_path; 'avo resume' needs it")


# --- the journal ---------------------------------------------------------------------------


def _journal(run: RunFolder, checked: dict[str, int]) -> Iterator[Finding]:
    with contextlib.closing(connect(run.journal, write=False)) as db:
        db.execute("BEGIN")  # one moment of a journal that may be growing
        for (said,) in db.execute("PRAGMA integrity_check(20)").fetchall():
            if said != "ok":
                yield Finding("journal", " ".join(str(said).split()), BACKUP)
        count, newest = db.execute("SELECT count(*), coalesce(max(seq), 0) FROM events").fetchone()
        checked["events"] = count
        if count != newest:
            yield Finding("journal", f"{newest - count:,} of {newest:,} events are missing", BACKUP)
        (unread,) = db.execute("SELECT count(*) FROM events WHERE NOT json_valid(data)").fetchone()
        if unread:
            yield Finding("journal", f"{unread:,} events cannot be read", BACKUP)
            return
        yield from _projections(db)


def _projections(db: sqlite3.Connection) -> Iterator[Finding]:
    """What the tables say that the events do not, or the reverse."""
    for letter, kind, told, table in _PAIRS:
        events = set(db.execute(f"SELECT {told} FROM events WHERE kind = ?", (kind,)))
        for number in sorted({row[0] for row in events ^ set(db.execute(table))}):
            yield Finding("journal", f"{kind} {letter}{number} is not the one that its event tells", BACKUP)
    spend = db.execute("SELECT calls, input_tokens, output_tokens, cache_read_tokens, usd FROM spend").fetchone()
    summed = db.execute(_SPENT).fetchone()
    if spend[:4] != summed[:4] or abs(spend[4] - summed[4]) > 1e-6 * (1 + spend[0]):
        yield Finding("journal", f"the spend is not the sum of its {summed[0]:,} events", BACKUP)
    (head,) = db.execute("SELECT value FROM meta WHERE key = 'head'").fetchone()
    moved = db.execute(_HEAD).fetchone()
    if moved is not None and str(moved[0]) != head:
        yield Finding("journal", f"the head is v{head}, the last commit or rollback left it at v{moved[0]}", BACKUP)
    yield from _kept_back(db)


def _kept_back(db: sqlite3.Connection) -> Iterator[Finding]:
    """Tables of later schemas that count and keep what events say, so that nobody needs to read them all."""
    found = schema.version_of(db)
    for since, what, table, events in _KEPT_BACK:
        if found >= since and (unlike := len(set(db.execute(table)) ^ set(db.execute(events)))):
            rows = f"{unlike:,} row{'s' * (unlike != 1)}"
            yield Finding("journal", f"{what} is not what its events tell ({rows})", BACKUP)


# letter, kind of event, what the event tells, the table's rows
_PAIRS = (
    (
        "v",
        "version",
        "json_extract(data, '$.version'), json_extract(data, '$.commit'), json_extract(data, '$.attempt')",
        "SELECT version, commit_id, attempt FROM versions",
    ),
    (
        "a",
        "attempt",
        "json_extract(data, '$.attempt'), json_extract(data, '$.source_hash')",
        "SELECT attempt, source_hash FROM attempts",
    ),
)
# since which schema, what it is, the table's rows, what the events come to
_ROUNDED = "SELECT seq, round(usd, 6), input_tokens, output_tokens, calls FROM spend_marks"
_ADDED_UP = f"SELECT seq, round(usd, 6), input, output, calls FROM ({schema.SPENT_SO_FAR})"
_KEPT_BACK = (
    (schema.TALLIED, "the tally", "SELECT kind, events FROM tally", "SELECT kind, count(*) FROM events GROUP BY kind"),
    (schema.MARKED, "the history of what was spent", _ROUNDED, _ADDED_UP),
    (schema.MARKED, "the history of directions", "SELECT * FROM direction_changes", schema.DIRECTIONS_SO_FAR),
)
_SPENT = (
    "SELECT count(*), coalesce(sum(json_extract(data, '$.input_tokens')), 0),"
    " coalesce(sum(json_extract(data, '$.output_tokens')), 0),"
    " coalesce(sum(json_extract(data, '$.cache_read_tokens')), 0), coalesce(sum(json_extract(data, '$.usd')), 0.0)"
    " FROM events WHERE kind = 'spent'"
)
_HEAD = (
    "SELECT coalesce(json_extract(data, '$.after'), json_extract(data, '$.version')) FROM events"
    " WHERE kind IN ('version', 'head') ORDER BY seq DESC LIMIT 1"
)


def _named_logs(run: RunFolder, reader: Reader) -> Iterator[Finding]:
    """Logs that the journal names and the housekeeping has not taken away on purpose."""
    dropped = reader.meta(LOGS_DROPPED)
    for attempt in reader.each_attempt():
        kept = dropped is None or attempt.created_at >= float(dropped)
        if attempt.log and kept and run.log(attempt.log) is None:
            yield Finding("artifacts", f"{attempt.log} of a{attempt.attempt} is missing", "nothing depends on it")


# --- the lineage ---------------------------------------------------------------------------


def _lineage(run: RunFolder, reader: Reader, checked: dict[str, int]) -> Iterator[Finding]:
    versions = reader.versions()
    checked["versions"] = len(versions)
    if not (run.lineage / "HEAD").is_file():
        if versions:
            yield Finding("lineage", f"{run.lineage} is missing", BACKUP)
        return
    broken = list(_fsck(run))
    yield from broken
    try:
        yield from _against_git(run, reader, versions)
    except LineageError as error:
        if not broken:
            yield Finding("lineage", _line(error), BACKUP)


def _fsck(run: RunFolder) -> Iterator[Finding]:
    """What git itself says about its objects."""
    if not (run.lineage / "HEAD").is_file():
        return
    try:
        archive.git("-C", str(run.lineage), "fsck", "--full", "--no-dangling", "--no-progress")
    except archive.GitFailed as error:
        lines = [line for line in error.output.splitlines() if line.strip()]
        # Whatever a broken link leads to is named as missing, too.
        lines = [x for x in lines if not x.lstrip().startswith(("broken link from ", "to "))] or lines
        for line in lines[:FSCK_LINES]:
            yield Finding("lineage", f"git fsck: {line.removeprefix('error: ')}", BACKUP)
    except LineageError as error:
        yield Finding("lineage", _line(error), "install git")


def _against_git(run: RunFolder, reader: Reader, versions: list[Version]) -> Iterator[Finding]:
    lineage = Lineage(run.lineage)
    try:
        kept = {c.version: c for c in lineage.versions()}
    except LineageError as error:
        yield Finding("lineage", _line(error), BACKUP)
        return
    known = {v.version for v in reader.versions()}  # read after git: a version may have been committed in between
    for number in sorted(set(kept) - known):
        if not engine_alive(reader.engine()):
            yield Finding("lineage", f"git has v{number}, the journal does not", f"'avo resume {run.name}' settles it")
    for version in versions:
        commit = kept.get(version.version)
        if commit is None:
            yield Finding("lineage", f"git lacks v{version.version} ({version.commit[:10]})", BACKUP)
        elif commit.commit != version.commit:
            what = f"v{version.version} is {commit.commit[:10]} in git, {version.commit[:10]} in the journal"
            yield Finding("lineage", what, BACKUP)
        else:
            yield from _version(lineage, reader, version)
    if not engine_alive(reader.engine()) and lineage.head() != reader.head():
        what = f"git's head is {_name(lineage.head())}, the journal's {_name(reader.head())}"
        yield Finding("lineage", what, f"'avo resume {run.name}' puts it back")


def _version(lineage: Lineage, reader: Reader, version: Version) -> Iterator[Finding]:
    """One version's sources against the attempt that was judged, its score.json against the journal."""
    number = version.version
    try:
        files, score = lineage.files(number), lineage.score(number)
    except LineageError as error:
        yield Finding("lineage", f"v{number} cannot be read: {_line(error)}", BACKUP)
        return
    judged = reader.attempt(version.attempt)
    if judged is None or intake.hash_of(files) != judged.source_hash:
        yield Finding(
            "lineage", f"the sources of v{number} are not those that were judged as a{version.attempt}", BACKUP
        )
    if score != version.score:
        yield Finding("lineage", f"score.json of v{number} is not the journal's score", BACKUP)


def _name(version: int | None) -> str:
    return "nowhere" if version is None else f"v{version}"


# --- the artifacts -------------------------------------------------------------------------


def _artifacts(run: RunFolder, checked: dict[str, int], *, living: bool) -> Iterator[Finding]:
    """Candidates against their names, logs against the hashes that housekeeping wrote down.

    A living engine may write a log again, or compress it, before it writes the new hash down.
    """
    checked["artifacts"] = 0
    for folder in sorted((run.artifacts / "candidates").glob("*")):
        if folder.is_dir() and not folder.name.startswith(intake.UNFINISHED):
            checked["artifacts"] += 1
            try:
                whole = intake.hash_of(intake.read_sources(folder))[:CANDIDATE_NAME] == folder.name
            except Refused:
                whole = False
            if not whole:
                what = f"candidates/{folder.name} is not what its name says"
                yield Finding("artifacts", what, "remove it; what the run needs of it is in git")
    for name, wanted in sums(run).items():
        checked["artifacts"] += 1
        path = run.artifacts / name
        if living and archive.rewritten(run.artifacts, name):
            continue
        try:
            if archive.digest(path) != wanted:
                yield Finding("artifacts", f"{name} was changed after it was written", "take it from an archive")
            elif path.suffix == ".gz":
                _unpacks(path)
        except FileNotFoundError:
            yield Finding("artifacts", f"{name} is missing", "take it from an archive; nothing depends on it")
        except (OSError, EOFError, zlib.error) as error:
            yield Finding("artifacts", f"{name} cannot be read: {_line(error)}", "take it from an archive")


def sums(run: RunFolder) -> dict[str, str]:
    """The hashes that housekeeping wrote down: {path under artifacts/: sha256}, the latest line of each counts."""
    try:
        lines = (run.artifacts / SUMS).read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    found = [m for line in lines if (m := _SUM.fullmatch(line))]
    return {m[2]: m[1] for m in found}


_SUM = re.compile(r"([0-9a-f]{64})  (\S.*)")


def _unpacks(path: Path) -> None:
    with gzip.open(path) as file:
        while file.read(1 << 20):
            pass


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split("; ")[0] if isinstance(error, (JournalError, LineageError)) else text
