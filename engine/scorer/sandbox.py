"""The sandbox: which one this machine gives, proved by attacking it, and how programs are put inside.

One rule: fail closed. A tier counts only when every attack of probe.c was held off; with no tier nothing runs, unless
the person said --unsafe-no-sandbox, which marks every score. Never as root: root becomes an unprivileged uid first.
Standard library only; the engine's shell tool uses this module too.

    bwrap+seccomp      uid drop, bubblewrap with every namespace, a system call filter, a cgroup where one is to be had
    landlock+seccomp   uid drop (as root), Landlock, a wider filter; for containers without user namespaces
    none               --unsafe-no-sandbox
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.record.errors import Refused, ScorerError
from engine.record.frozen import dataclass
from engine.record.scores import Check
from engine.scorer import bubblewrap, cgroup, landlock, tree
from engine.scorer import toolchain as tools
from engine.scorer.confined import Confined, Job, Limits
from engine.scorer.toolchain import Toolchain

BWRAP, LANDLOCK, NONE = "bwrap+seccomp", "landlock+seccomp", "none"
WORKER_UID, SHELL_UIDS = 56_999, range(57_000, 60_000)
WORKSPACE_LIMIT_BYTES = 4 << 30
WORKSPACE_LIMIT_FILES = 200_000
WORKSPACE_LIMIT_DEPTH = 100
SHELL = Limits(address_space=8 << 30, file_bytes=256 << 20, processes=512, open_files=1024)
BUILD = Limits(address_space=8 << 30, file_bytes=256 << 20, processes=64, open_files=256)
WORKER_OPEN_FILES = 64
KILLING_S = 2.0
# What libcuda reads when it looks for devices.
DRIVER = ("/proc/driver/nvidia", "/proc/devices", "/proc/modules", "/proc/cpuinfo", "/proc/meminfo",
          "/sys/devices", "/sys/bus/pci", "/sys/module", "/usr/local/nvidia")  # fmt: skip
TOOLS = ("/opt/nvidia", "/opt/cuda")  # where Nsight Compute lies: what stands on PATH is a script that goes there

_chosen: dict[bool, Sandbox] = {}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A tier of confinement and the probes that it passed (for `none`: why the others are not to be had)."""

    tier: str
    probes: tuple[Check, ...]
    cache: Path
    launcher: Path | None = None
    bwrap: str | None = None
    group: cgroup.Group | None = None

    @property
    def unsafe(self) -> bool:
        """Whether nothing confines what runs here."""
        return self.tier == NONE

    def wrap(self, job: Job) -> Confined:
        """The command line that runs a job inside."""
        if self.tier == NONE:
            return Confined(list(job.argv), dict(job.env), job.pass_fds, str(job.outside_directory))
        if self.launcher is None:
            raise ScorerError("no sandbox was chosen; nothing runs without one")
        if self.tier == BWRAP and self.bwrap is not None:
            return bubblewrap.wrap(job, self.launcher, self.bwrap, self.cache, self.group)
        return landlock.wrap(job, self.launcher, self.cache, self.group)


def choose(*, unsafe: bool = False) -> Sandbox:
    """The strongest tier that holds on this machine. Raises Refused when none does and `unsafe` is False."""
    if unsafe not in _chosen:
        _chosen[unsafe] = Sandbox(NONE, (), tools.default_cache()) if unsafe else _strongest()
    return _chosen[unsafe]


def forget() -> None:
    """Choose again the next time: the programs of the chosen sandbox are gone."""
    _chosen.clear()


def unchosen() -> Sandbox:
    """The sandbox before one is chosen: it runs nothing."""
    return Sandbox("unchosen", (), tools.default_cache())


def available() -> dict[str, tuple[Check, ...]]:
    """Every tier and the probes it passed or failed, for `avo doctor`."""
    toolchain = tools.find()
    return {tier: _probed(_candidate(tier, toolchain)) for tier in (BWRAP, LANDLOCK)}


def prepare(sandbox: Sandbox, workspace: Path) -> None:
    """Give a workspace to the sandbox's own uid, as root; links are changed themselves, never followed."""
    uid = shell_uid(workspace)
    if sandbox.unsafe or uid is None:
        return
    os.chown(workspace, uid, uid, follow_symlinks=False)
    for folder, folders, names in tree.walk(workspace):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for name in (*folders, *names):
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode):  # a hard link may name a file of somebody else
                    os.chown(name, uid, uid, dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)


def confine(
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    writable: Path,
    readable: Sequence[Path] = (),
    network: bool = False,
    env: Mapping[str, str] | None = None,
) -> Confined:
    """An operator's command: it writes only `writable`, its working directory, and sees only the system and `readable`.

    Raises Refused when the workspace cannot be given to it.
    """
    if not writable.is_dir() or writable.is_symlink():
        raise Refused(f"{writable}: the workspace is not a folder; it was moved or removed")
    if not sandbox.unsafe and writable.stat().st_uid != (shell_uid(writable) or os.geteuid()):
        prepare(sandbox, writable)
    where = Path("/workspace") if sandbox.tier == BWRAP else writable.resolve()
    return sandbox.wrap(
        Job(
            argv=tuple(argv),
            env={**_shell_environment(where), **(env or {})},
            uid=shell_uid(writable),
            limits=SHELL,
            writable=((writable.resolve(), where),),
            readable=tuple((p.resolve(), p.resolve()) for p in readable),
            system=True,
            network=network,
            filtered=True,
            directory=where,
            outside_directory=writable.resolve(),
        )
    )


def build_job(sandbox: Sandbox, argv: Sequence[str], sources: Path, output: Path, *, cpu_s: int) -> Confined:
    """A compiler: `sources` is read-only and its working directory, `output` is all it can write."""
    confined = sandbox.tier == BWRAP
    inside = (
        {sources: Path("/build/in"), output: Path("/build/out")} if confined else {sources: sources, output: output}
    )
    env = {**tools.environment(), "TMPDIR": "/tmp" if confined else str(output)}  # noqa: S108
    return sandbox.wrap(
        Job(
            argv=tuple(argv),
            env=env,
            uid=worker_uid(),
            limits=replace(BUILD, cpu_s=cpu_s),
            writable=((output, inside[output]),),
            readable=((sources, inside[sources]), *_toolchain_paths(Path(argv[0]))),
            system=True,
            filtered=True,
            directory=inside[sources],
            outside_directory=sources,
        )
    )


def _toolchain_paths(compiler: Path) -> tuple[tuple[Path, Path], ...]:
    """What a compiler outside the system's folders needs: everything beside its bin folder."""
    places = {compiler.parent.parent, compiler.resolve().parent.parent} if compiler.is_absolute() else set()
    own = sorted(p for p in places if not p.is_relative_to("/usr") and p != Path("/"))
    return tuple((p, p) for p in own)


def build_output(sandbox: Sandbox, output: Path) -> Path:
    """Where a build sees its output folder."""
    return Path("/build/out") if sandbox.tier == BWRAP else output


def worker_job(
    sandbox: Sandbox,
    runner: Path,
    library: Path,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    fds: Sequence[int],
    info_fd: int,
) -> Confined:
    """A worker: the runner and one library, at constant paths where the tier has its own file system, and no more."""
    confined = sandbox.tier == BWRAP
    inside = {runner: Path("/avo/runner"), library: Path("/avo/candidate.so")} if confined else {}
    paths = [inside.get(p, p) for p in (runner, library)]
    return sandbox.wrap(
        Job(
            argv=(str(paths[0]), str(paths[1]), *arguments),
            env=dict(env),
            uid=worker_uid(),
            limits=Limits(
                address_space=_worker_memory(), file_bytes=1 << 20, processes=None, open_files=WORKER_OPEN_FILES
            ),
            readable=((runner, paths[0]), (library, paths[1])),
            system=False,
            filtered=False,  # the runner sets a stricter filter on itself
            directory=Path("/"),
            outside_directory=Path("/"),
            pass_fds=(*fds, info_fd),
            info_fd=info_fd,
            worker=True,
        )
    )


def device_job(
    sandbox: Sandbox,
    runner: Path,
    library: Path,
    arguments: Sequence[str],
    *,
    env: Mapping[str, str],
    fds: Sequence[int],
    own_uid: bool = False,
    tool: Sequence[str] = (),
    scratch: Path | None = None,
) -> Confined:
    """A GPU worker: an unprivileged uid, no new privileges, Landlock with the driver's files, no TCP.

    `own_uid` keeps the judge's uid and gives up its capabilities instead, for drivers that share memory within a user
    only. `tool` is a command line before the worker's, such as a profiler's; it may write in `scratch`.

    Always the second tier without its filter: CUDA IPC needs the judge's pid and IPC namespaces, and the driver's
    libraries need more system calls and address space than a list could name. Whoever uses it proves that the device
    can be reached from inside (cuda/device.py).
    """
    job = Job(
        argv=(*tool, str(runner), str(library), *arguments),
        env=dict(env),
        uid=None if own_uid else worker_uid(),
        bare=own_uid,
        limits=Limits(file_bytes=256 << 20 if scratch else 1 << 20, open_files=1024),
        readable=tuple((path, path) for path in (runner, library, *_there(DRIVER), *_there(TOOLS if tool else ()))),
        # libcuda names its threads through /proc/self/task/*/comm, and shares no memory where it may not. A tool starts
        # the worker as a process whose number nobody knows yet; of /proc this uid may write its own processes' files.
        writable=tuple(
            (path, path) for path in (Path("/proc" if tool else "/proc/self"), *([scratch] if scratch else []))
        ),
        system=True,
        filtered=False,
        directory=Path("/"),
        outside_directory=Path("/"),
        pass_fds=tuple(fds),
        worker=True,
        devices=tuple(str(p) for p in sorted(Path("/dev").glob("nvidia*"))),
    )
    if sandbox.launcher is None:
        raise ScorerError("no sandbox was chosen; nothing runs without one")
    return landlock.wrap(job, sandbox.launcher, sandbox.cache, None)


def _there(paths: Sequence[str]) -> list[Path]:
    return [path for path in map(Path, paths) if path.exists()]


def give(sandbox: Sandbox, folder: Path) -> None:
    """Let the sandbox's worker uid write one folder."""
    if not sandbox.unsafe and os.geteuid() == 0:
        os.chown(folder, worker_uid() or 0, worker_uid() or 0)


def kill(leader: int) -> None:
    """SIGKILL a confined program and everything of it: its process group, and whoever is in the session it leads.

    With bubblewrap the group is enough, all else dies with it. With Landlock nothing inside can leave the session.
    A look at all processes takes milliseconds: one that ended meanwhile may have forked another that the look did not
    see, so only a look during which nobody ended, and that finds nobody, is the last.
    """
    ended: set[int] = set()
    end = time.monotonic() + KILLING_S
    while time.monotonic() < end:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        living, gone = _session(leader)
        for pid in living:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not living and gone <= ended:
            return
        ended |= gone
        time.sleep(0.002)


def _session(leader: int) -> tuple[list[int], set[int]]:
    """Living processes of the session of `leader`, and those that ended: its dead, and who vanished during the look.

    proc(5), stat: the state, the session and the number of threads; a process lives while any thread of it does.
    """
    living, ended = [], set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            state, session, threads = fields[0], int(fields[3]), int(fields[17])
        except (OSError, IndexError):
            ended.add(int(process.name))
            continue
        if session == leader:
            if state in "ZX" and threads <= 1:
                ended.add(int(process.name))
            else:
                living.append(int(process.name))
    return living, ended


def overfull(workspace: Path) -> str | None:
    """Why a workspace is too large, or None; for whoever watches a command run."""
    size = files = 0
    top = str(workspace).count("/")
    for folder, _, names in tree.walk(workspace):
        if folder.count("/") - top > WORKSPACE_LIMIT_DEPTH:  # what lies too deep for a path could not be counted
            return f"the workspace's folders are more than {WORKSPACE_LIMIT_DEPTH} deep"
        for name in names:
            try:
                size += os.lstat(Path(folder) / name).st_blocks * 512
            except OSError:
                continue
            files += 1
        if size > WORKSPACE_LIMIT_BYTES:
            return f"the workspace holds more than {WORKSPACE_LIMIT_BYTES >> 30} GiB"
        if files > WORKSPACE_LIMIT_FILES:
            return f"the workspace holds more than {WORKSPACE_LIMIT_FILES} files"
    return None


def worker_uid() -> int | None:
    """Who builds and workers are, when we are root."""
    return _mapped(WORKER_UID) if os.geteuid() == 0 else None


def shell_uid(workspace: Path) -> int | None:
    """Who an operator's commands are, when we are root: one uid per workspace, so that runs cannot touch each other."""
    if os.geteuid() != 0:
        return None
    return _mapped(SHELL_UIDS[zlib.crc32(str(workspace.resolve()).encode()) % len(SHELL_UIDS)])


def _mapped(uid: int) -> int:
    """`uid`, or the last uid that this user namespace knows (a container's may know few)."""
    lines = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
    spans = [(int(begin), int(count)) for begin, _, count in lines]
    if any(begin <= uid < begin + count for begin, count in spans):
        return uid
    last = max(begin + count - 1 for begin, count in spans)
    if last == 0:
        raise Refused("this container knows no uid but root's; run it with more uids, or as an ordinary user")
    return last


def _shell_environment(where: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(where),
        "WORKSPACE": str(where),
        "TMPDIR": "/tmp" if str(where) == "/workspace" else str(where),  # noqa: S108
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def _worker_memory() -> int:
    """Address space of a worker: most of the machine's memory, since thread stacks only reserve theirs."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(4 << 30, min(64 << 30, pages * 3 // 4))


def _strongest() -> Sandbox:
    toolchain = tools.find()
    failed: list[str] = []
    for tier in (BWRAP, LANDLOCK):
        sandbox = _candidate(tier, toolchain)
        probes = _probed(sandbox)
        if probes and all(p.passed for p in probes):
            return replace(sandbox, probes=probes)
        failed.append(f"{tier}: {next((p.detail or p.name for p in probes if not p.passed), 'not available')}")
    raise Refused(
        f"no sandbox holds here ({'; '.join(failed)}). Install bubblewrap (apt-get install bubblewrap), use a kernel "
        "with Landlock, or accept the risk with --unsafe-no-sandbox"
    )


def _candidate(tier: str, toolchain: Toolchain) -> Sandbox:
    group = cgroup.create() if os.geteuid() == 0 else None
    return Sandbox(tier, (), toolchain.cache, tools.launcher(toolchain), shutil.which("bwrap"), group)


def _probed(sandbox: Sandbox) -> tuple[Check, ...]:
    from engine.scorer import probes

    return probes.attack(sandbox)
