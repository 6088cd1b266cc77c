"""The lineage: one run's committed versions in a bare git repository, written by the engine alone.

One commit for each version, kept for ever by `refs/avo/vN`; `main` is the active head, and moving it is all
that a rollback does. A version exists once its ref does: blobs, tree and commit are on the disk before that.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from engine.private import hidden
from engine.record.errors import LineageError
from engine.record.frozen import dataclass
from engine.record.scores import SCORE_FILE, Score

if TYPE_CHECKING:
    from git import Commit, Repo

SCRATCH = "avo-diff-"  # folders of objects that are dropped once they were compared
MAIN = "refs/heads/main"
_TRAILER = re.compile(r"([A-Za-z][A-Za-z0-9-]*): (.*)\Z")


@dataclass(frozen=True, slots=True)
class Committed:
    """A version as git holds it. `at` is seconds since the epoch; `score` None when score.json cannot be read."""

    version: int
    commit: str
    parent: int | None
    at: float
    message: str
    trailers: Mapping[str, str]
    score: Score | None


@dataclass(frozen=True, slots=True)
class FileChange:
    """How many lines of one file came and went between two versions; None for a file that is not text."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a killed engine left: versions that the journal does not know, and versions that git does not have."""

    unjournaled: tuple[Committed, ...]
    missing: tuple[int, ...]
    head_moved: bool


class Lineage:
    """One run's repository. Opened afresh for each use: no stale cache, no helper process, nothing to close."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Lineage:
        """A new, empty repository. Fails when there is one already."""
        if path.exists() and any(path.iterdir()):
            raise LineageError(f"{path} is not empty; a lineage is made once for each run")
        git = import_git()
        with _explained(path):
            environment = {**_environment(path), "GIT_TEMPLATE_DIR": ""}
            options: dict[str, Any] = {"bare": True, "initial_branch": "main", "env": environment}
            git.Repo.init(path, expand_vars=False, **options).close()
        return cls(path)

    # --- writing -------------------------------------------------------------------------

    def commit(
        self,
        files: Mapping[str, bytes],
        *,
        version: int,
        parent: int | None,
        score: Score,
        message: str,
        trailers: Mapping[str, str] | None = None,
    ) -> str:
        """Commit a version and make it the head; returns the commit's id.

        `message` is for a reader; the trailers Version, Parent and Geomean are added to those given.
        """
        content = {_checked(name): data for name, data in files.items()}
        if not content:
            raise LineageError(f"v{version} has no files; the workspace holds no sources")
        content[SCORE_FILE] = json.dumps(score.to_json(), indent=1, sort_keys=True).encode() + b"\n"
        text = _message(message, version, parent, score, trailers or {})
        with self._open() as repo:
            if _resolve(repo, _ref(version)) is not None:
                raise LineageError(f"{self.path}: v{version} exists already; a version's number is never used again")
            above = None if parent is None else self._commit_id(repo, parent)
            tree = _write_tree(repo, content)
            with _spooled(text) as message_file:
                commit = str(repo.git.commit_tree(tree, *(("-p", above) if above else ()), istream=message_file))
            _sync_objects(self.path, repo, commit)
            self._set_refs(repo, f"create {_ref(version)} {commit}\nupdate {MAIN} {commit}\n")
        return commit

    def move_head(self, version: int) -> None:
        """Make `version` the active head. Nothing is rewritten and nothing is lost."""
        with self._open() as repo:
            self._set_refs(repo, f"update {MAIN} {self._commit_id(repo, version)}\n")

    def reconcile(self, journal: Mapping[int, str], head: int | None) -> Reconciliation:
        """Compare with what the journal holds (version -> commit) and put the head where the journal has it.

        The engine decides what becomes of `unjournaled` versions: each was judged and committed, and only
        the journal's line is missing. Raises LineageError when a version's commit is not the journal's.
        Only the engine that holds the run's lock calls this: ref locks and half objects found here are a dead engine's.
        """
        self._drop_leftovers()
        mine = {c.version: c for c in self.versions()}
        for version, commit in journal.items():
            if version in mine and mine[version].commit != commit:
                raise LineageError(
                    f"{self.path}: v{version} is {mine[version].commit[:10]}, the journal says {commit[:10]}"
                )
        moved = head in mine and self.head() != head
        if moved and head is not None:
            self.move_head(head)
        unjournaled = tuple(c for v, c in sorted(mine.items()) if v not in journal)
        return Reconciliation(unjournaled, tuple(sorted(set(journal) - set(mine))), moved)

    # --- reading -------------------------------------------------------------------------

    def versions(self) -> tuple[Committed, ...]:
        """Every version there is, withdrawn ones too, oldest first."""
        with self._open() as repo:
            found = sorted(_refs(repo).items())
            return tuple(_committed(version, _commit(repo, commit)) for version, commit in found)

    def next_version(self) -> int:
        """The number after the highest that was ever used here."""
        with self._open() as repo:
            return max(_refs(repo), default=-1) + 1

    def head(self) -> int | None:
        """The active version, or None before the first commit."""
        with self._open() as repo:
            main = _resolve(repo, MAIN)
            return next((v for v, commit in _refs(repo).items() if commit == main), None)

    def files(self, version: int) -> dict[str, bytes]:
        """A version's sources: path -> content, without score.json."""
        with self._open() as repo:
            tree = _commit(repo, self._commit_id(repo, version)).tree
            blobs = [b for b in tree.traverse() if b.type == "blob"]
            return {_checked(str(b.path)): b.data_stream.read() for b in blobs if b.path != SCORE_FILE}

    def score(self, version: int) -> Score | None:
        """The score vector that was committed with a version."""
        with self._open() as repo:
            return _score(_commit(repo, self._commit_id(repo, version)))

    def diff(self, before: int, after: int) -> str:
        """The unified diff of the sources from one version to another."""
        with self._open() as repo:
            return self._diff(repo, self._commit_id(repo, before), self._commit_id(repo, after))

    def diff_files(self, before: int | None, files: Mapping[str, bytes]) -> str:
        """The unified diff from a version (None: from nothing) to sources that are not committed."""
        content = {_checked(name): data for name, data in files.items()}
        with self._open() as repo, _scratch(repo):
            old = _write_tree(repo, {}) if before is None else self._commit_id(repo, before)
            return self._diff(repo, old, _write_tree(repo, content))

    def diffstat(self, before: int, after: int) -> tuple[FileChange, ...]:
        """Lines added and removed in each file from one version to another."""
        with self._open() as repo:
            ends = self._commit_id(repo, before), self._commit_id(repo, after)
            text = str(repo.git.diff("--numstat", "-z", *_PLAIN, *ends, "--", ".", f":!{SCORE_FILE}"))
        return tuple(_change(line) for line in text.split("\0") if line)

    def export(self, version: int, directory: Path) -> list[Path]:
        """Write a version's sources into a new or empty directory; returns what was written."""
        files = self.files(version)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if any(directory.iterdir()):
                raise LineageError(f"{directory} is not empty; name a new directory to export v{version} to")
            return [_write(directory / name, data) for name, data in sorted(files.items())]
        except OSError as error:
            raise LineageError(f"cannot export v{version} to {directory}: {error.strerror}") from error

    # --- inside --------------------------------------------------------------------------

    @contextmanager
    def _open(self) -> Iterator[Repo]:
        git = import_git()
        with _explained(self.path):
            if not (self.path / "HEAD").is_file():
                raise LineageError(f"{self.path} is not a lineage; the run's first version makes one")
            repo = git.Repo(self.path, expand_vars=False)
            repo.git.update_environment(**_environment(self.path))
            try:
                yield repo
            finally:
                repo.close()

    def _drop_leftovers(self) -> None:
        """Locks, objects that were being written (gitdb names them obj*, git tmp_obj_*), and those of a diff."""
        objects = self.path / "objects"
        with _explained(self.path):
            for place in self.path.glob(f"{SCRATCH}*"):
                shutil.rmtree(place)
            locks = [*self.path.glob("*.lock"), *(self.path / "refs").rglob("*.lock")]
            for path in [*locks, *objects.glob("obj*"), *objects.rglob("tmp_obj_*")]:
                path.unlink(missing_ok=True)

    def _commit_id(self, repo: Repo, version: int) -> str:
        commit = _resolve(repo, _ref(version))
        if commit is None:
            raise LineageError(f"{self.path} has no v{version}; 'avo versions' lists those there are")
        return commit

    def _set_refs(self, repo: Repo, lines: str) -> None:
        with _spooled(f"start\n{lines}prepare\ncommit\n") as file:
            repo.git.update_ref("--no-deref", "--stdin", istream=file)

    def _diff(self, repo: Repo, before: str, after: str) -> str:
        text = repo.git.diff(*_PLAIN, "--text", before, after, "--", ".", f":!{SCORE_FILE}", stdout_as_string=False)
        return bytes(text).decode("utf-8", "replace")


# A diff that no configuration and no attributes file can change or hide.
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")


# What a surrounding git (a hook, a rebase) tells its children. GitPython and git would both obey.
_LEADING_ELSEWHERE = frozenset(
    f"GIT_{name}"
    for name in (
        *("DIR", "WORK_TREE", "COMMON_DIR", "INDEX_FILE", "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES"),
        *("NAMESPACE", "PREFIX", "CONFIG", "CONFIG_PARAMETERS", "CONFIG_COUNT", "GRAFT_FILE", "SHALLOW_FILE"),
        *("REPLACE_REF_BASE", "AUTHOR_DATE", "COMMITTER_DATE", "EXTERNAL_DIFF", "DIFF_OPTS"),
    )
)


def import_git() -> Any:
    """GitPython, imported late: it takes a tenth of a second."""
    try:
        import git
    except ImportError as error:
        raise LineageError("git is not installed; install it (Debian and Ubuntu: apt install git)") from error
    for name in _LEADING_ELSEWHERE & set(os.environ):
        del os.environ[name]
    return git


def _environment(path: Path) -> dict[str, str]:
    """Git sees this repository and its own configuration, whatever the person's settings and environment say."""
    settings = {"core.hooksPath": os.devnull, "core.fsync": "all", "core.fsmonitor": "false", "gc.auto": "0",
                "core.attributesFile": os.devnull, "core.logAllRefUpdates": "always"}  # fmt: skip
    keys = {f"GIT_CONFIG_KEY_{i}": key for i, key in enumerate(settings)}
    values = {f"GIT_CONFIG_VALUE_{i}": value for i, value in enumerate(settings.values())}
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "avo"), ("EMAIL", "avo@localhost"))}  # fmt: skip
    fixed = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": str(len(settings)),
             "GIT_DIR": str(path), "GIT_ATTR_NOSYSTEM": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0",
             "GIT_TRACE": "0", "LC_ALL": "C"}  # fmt: skip
    return {**hidden(os.environ), **fixed, **keys, **values, **who}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what git and the disk say into one line for a person."""
    import git
    from gitdb.exc import ODBError

    try:
        yield
    except git.GitCommandNotFound as error:
        raise LineageError("git is not installed; install it (Debian and Ubuntu: apt install git)") from error
    except git.GitCommandError as error:
        raise LineageError(f"{path}: {_one_line(str(error.stderr))}") from error
    except (git.GitError, ODBError) as error:
        raise LineageError(f"{path} is damaged ({type(error).__name__}: {_one_line(str(error))})") from error
    except OSError as error:
        raise LineageError(f"{path}: {error.strerror or error}; is the disk full or read-only?") from error
    except (ValueError, AssertionError, IndexError, EOFError) as error:
        raise LineageError(f"{path} is damaged ({_one_line(str(error)) or type(error).__name__})") from error


def _one_line(text: str) -> str:
    words = re.sub(r"^\s*stderr: '|'\s*$", "", text.strip())
    return " ".join(words.split())[:300]


def _ref(version: int) -> str:
    return f"refs/avo/v{version}"


def _refs(repo: Repo) -> dict[int, str]:
    """Every version's commit, from loose and packed refs."""
    from git import Reference

    named = {r.path.rpartition("/")[2]: r for r in Reference.iter_items(repo, "refs/avo")}
    found = {int(name[1:]): _resolve(repo, r.path) for name, r in named.items() if re.fullmatch(r"v\d+", name)}
    return {version: commit for version, commit in found.items() if commit is not None}


def _resolve(repo: Repo, ref: str) -> str | None:
    """The commit that a ref names, or None when there is no such ref."""
    from git import Reference

    try:
        return str(Reference.dereference_recursive(repo, ref))
    except ValueError:
        if (Path(repo.git_dir) / ref).is_file():
            raise LineageError(f"{repo.git_dir}: {ref} is damaged; 'git fsck' there says more") from None
        return None


def _commit(repo: Repo, commit: str) -> Commit:
    from git import Commit

    return Commit(repo, bytes.fromhex(commit))


def _committed(version: int, commit: Commit) -> Committed:
    message = str(commit.message)
    body, _, tail = message.strip().rpartition("\n\n")
    found = [m for line in tail.splitlines() if (m := _TRAILER.match(line))]
    trailers = {m[1]: m[2] for m in found}
    parent = trailers.get("Parent", "")
    above = int(parent[1:]) if re.fullmatch(r"v\d+", parent) else None
    return Committed(version, commit.hexsha, above, float(commit.committed_date), body, trailers, _score(commit))


def _score(commit: Commit) -> Score | None:
    try:
        return Score.from_json(json.loads(commit.tree[SCORE_FILE].data_stream.read()))
    except (KeyError, ValueError, TypeError):
        return None


def _message(message: str, version: int, parent: int | None, score: Score, trailers: Mapping[str, str]) -> str:
    figure = f"{score.geomean_tflops:.6g} TFLOPS" if score.geomean_tflops else "none"
    facts = {
        "Version": f"v{version}",
        "Parent": "none" if parent is None else f"v{parent}",
        "Geomean": figure,
        **trailers,
    }
    lines = [f"{key}: {' '.join(str(value).split())}" for key, value in facts.items()]
    return f"{message.strip() or f'v{version}'}\n\n" + "\n".join(lines) + "\n"


@contextmanager
def _scratch(repo: Repo) -> Iterator[None]:
    """What git writes meanwhile is dropped afterwards: each attempt is diffed, and a week's would leave 20,000 objects.

    Objects are looked up beside in the repository itself (git(1), GIT_ALTERNATE_OBJECT_DIRECTORIES, quoted as in C).
    They are written without git, which takes a process for each, and nobody misses them after a power cut.
    """
    from gitdb import LooseObjectDB

    kept = os.path.join(repo.git_dir, "objects")  # noqa: PTH118 as git names it
    quoted = '"' + kept.replace("\\", "\\\\").replace('"', '\\"') + '"'
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=repo.git_dir) as place:
        repo.git.update_environment(GIT_OBJECT_DIRECTORY=place, GIT_ALTERNATE_OBJECT_DIRECTORIES=quoted)
        repo.odb = LooseObjectDB(place)
        yield


def _write_tree(repo: Repo, content: Mapping[str, bytes]) -> str:
    """Write blobs and trees; returns the tree's id. Nothing refers to them yet."""
    from git import IndexFile
    from git.index.typ import BaseIndexEntry, IndexEntry
    from gitdb import IStream

    index = IndexFile(repo, os.path.join(repo.git_dir, "avo-index"))  # noqa: PTH118 never written, only a name
    index.entries.clear()
    for name, data in sorted(content.items()):
        sha = repo.odb.store(IStream("blob", len(data), io.BytesIO(data))).binsha
        index.entries[(name, 0)] = IndexEntry.from_base(BaseIndexEntry((0o100644, sha, 0, name)))
    if not content:
        return str(repo.odb.store(IStream("tree", 0, io.BytesIO(b""))).hexsha.decode())
    return str(index.write_tree().hexsha)


def _sync_objects(path: Path, repo: Repo, commit: str) -> None:
    """Bring the commit's new objects to the disk before a ref names them."""
    tree = _commit(repo, commit).tree
    for sha in (tree.hexsha, *(str(o.hexsha) for o in tree.traverse())):
        loose = path / "objects" / sha[:2] / sha[2:]
        if loose.is_file():
            with loose.open("rb") as file:
                os.fsync(file.fileno())


@contextmanager
def _spooled(text: str) -> Iterator[Any]:
    """A text as a real file, which git reads as its standard input."""
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        yield file


def _checked(name: str) -> str:
    """A path inside the sources; refuses one that leaves them, names git's own files, or cannot be listed in a line."""
    path = PurePosixPath(name)
    parts = path.parts
    bad = path.is_absolute() or not parts or ".." in parts or any(p.lower() == ".git" for p in parts)
    if bad or str(path) != name or any(ord(c) < 32 or ord(c) == 127 for c in name) or name == SCORE_FILE:
        raise LineageError(f"{name!r} cannot be the path of a source file; use plain relative names")
    return name


def _change(line: str) -> FileChange:
    added, removed, path = line.split("\t", 2)
    return FileChange(path, *(None if n == "-" else int(n) for n in (added, removed)))


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
