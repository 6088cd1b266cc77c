"""The first tier: bubblewrap with every namespace of its own, an empty file system, and the filters inside.

One rule: nothing is visible that was not named here. As root the launcher first becomes an unprivileged uid (a
bubblewrap started by root keeps root's file rights), after binding what that uid could not reach otherwise.
"""

from __future__ import annotations

from pathlib import Path

from engine.scorer import stages
from engine.scorer import toolchain as tools
from engine.scorer.cgroup import Group
from engine.scorer.confined import Confined, Job

ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
ETC_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "ssl", "pki", "ca-certificates", "ca-certificates.conf")
TEMPORARY_BYTES = 512 << 20
SHARED_MEMORY_BYTES = 256 << 20
LIBRARIES = ("lib", "lib64", "lib32")
LAUNCHER = "/avo/confine"


def wrap(job: Job, launcher: Path, bwrap: str, cache: Path, group: Group | None) -> Confined:
    """The command line: launcher (uid, limits) → bubblewrap → launcher again (limits, filter) → the program."""
    moved, options = stages.reachable(job, cache, launcher)
    outer = [str(launcher), *(group.options() if group else []), *options]
    if job.uid is not None:
        outer += ["--uid", str(job.uid)]
    if job.worker:
        outer += job.limits.options()
    inner = [bwrap, *_namespaces(job), *_files(job, moved)]
    if job.worker:
        inner += ["--remount-ro", "/", "--chdir", str(job.directory), "--"]
    else:
        inner += ["--ro-bind", str(moved[launcher]), LAUNCHER, "--remount-ro", "/", "--chdir", str(job.directory), "--"]
        inner += [LAUNCHER, *job.limits.options(), *(["--seccomp"] if job.filtered else []), "--"]
    return Confined([*outer, "--", *inner, *job.argv], dict(job.env), job.pass_fds, nested=True)


def _namespaces(job: Job) -> list[str]:
    options = ["--unshare-all", "--die-with-parent", "--hostname", "avo", "--cap-drop", "ALL"]
    if job.network:
        options.append("--share-net")
    if job.worker:
        options.append("--as-pid-1")
        options += ["--info-fd", str(job.info_fd)] if job.info_fd is not None else []
    else:
        options += ["--uid", "1000", "--gid", "1000"]
    return options


def _files(job: Job, moved: dict[Path, Path]) -> list[str]:
    options = _system(job) if job.system else _libraries()
    for outside, inside in job.readable:
        options += ["--ro-bind", str(moved[outside]), str(inside)]
    for outside, inside in job.writable:
        options += ["--bind", str(moved[outside]), str(inside)]
    return options


def _libraries() -> list[str]:
    """Only the runtime of the language: no BLAS, no torch, nothing to borrow an answer from."""
    options = [part for name in LIBRARIES if Path("/", name).is_symlink() for part in _tree((name,))]
    for path in tools.libraries(tools.find().compiler):
        options += ["--ro-bind", str(path), str(path)]
        loader = Path("/lib64").resolve() / path.name  # where every program's header says that the loader is
        if path.name.startswith("ld-") and loader.exists() and loader != path:
            options += ["--ro-bind", str(path), str(loader)]
    return [*options, *_optional("/etc/ld.so.cache")]


def _system(job: Job) -> list[str]:
    options = ["--ro-bind", "/usr", "/usr", *_tree(("bin", "sbin", *LIBRARIES))]
    for name in (*ETC, *(ETC_NETWORK if job.network else ())):
        options += _optional(f"/etc/{name}")
    options += ["--proc", "/proc", "--dev", "/dev"]
    options += ["--size", str(SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    options += ["--size", str(TEMPORARY_BYTES), "--tmpfs", "/tmp"]  # noqa: S108
    if stages.PACKAGE.is_relative_to("/usr"):  # installed into the system's Python: no view of the scorer
        options += ["--tmpfs", str(stages.PACKAGE)]
    return options


def _tree(names: tuple[str, ...]) -> list[str]:
    """/bin, /lib and the like: links on most systems, folders on some."""
    options: list[str] = []
    for name in names:
        path = Path("/") / name
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            options += ["--ro-bind", str(path), str(path)]
    return options


def _optional(path: str) -> list[str]:
    return ["--ro-bind-try", path, path]
