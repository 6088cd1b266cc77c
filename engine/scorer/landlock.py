"""The second tier, for machines without user namespaces: Landlock and a wider system call filter.

One rule: what Landlock does not cover is refused by the filter (sockets, SysV memory, other processes' priorities,
leaving the session), so that this tier promises the same as the first, with a coarser view of the machine.
"""

from __future__ import annotations

from pathlib import Path

from engine.scorer import stages
from engine.scorer import toolchain as tools
from engine.scorer.cgroup import Group
from engine.scorer.confined import Confined, Job

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32")
ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
ETC_NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")
READ_DEVICES = ("/dev/zero", "/dev/urandom", "/dev/random")


def wrap(job: Job, launcher: Path, cache: Path, group: Group | None) -> Confined:
    """The command line: launcher (uid, limits, Landlock, filter) → the program."""
    moved, options = stages.reachable(job, cache, launcher)
    argv = [str(launcher), *(group.options() if group else []), *options]
    if job.uid is not None:
        argv += ["--uid", str(job.uid)]
    if job.bare:
        argv.append("--bare")
    argv += [*job.limits.options(), "--landlock"]
    for path in _shown(job):
        argv += ["--rx", path]
    argv += ["--ro", "/etc/ld.so.cache"]
    for outside, _ in job.readable:
        argv += ["--rx", str(moved[outside])]
    for outside, _ in job.writable:
        argv += ["--rw", str(moved[outside])]
    if job.system:
        argv += [part for path in READ_DEVICES for part in ("--ro", path)] + ["--rw", "/dev/null"]
    argv += [part for path in job.devices for part in ("--rd", path)]
    if job.network:
        argv.append("--net")
    if job.filtered:
        argv += ["--seccomp", "--shared"]
    directory = moved.get(job.outside_directory, job.directory)
    renamed = {str(old): str(new) for old, new in moved.items() if old != new}
    program = [renamed.get(part, part) for part in job.argv]
    env = {key: renamed.get(value, value) for key, value in job.env.items()}
    return Confined([*argv, "--chdir", str(directory), "--", *program], env, job.pass_fds)


def _shown(job: Job) -> tuple[str, ...]:
    if not job.system:
        return tuple(str(path) for path in tools.libraries(tools.find().compiler))
    system = (shown for path in SYSTEM for shown in _without(Path(path), stages.PACKAGE))
    return (*map(str, system), *ETC, *(ETC_NETWORK if job.network else ()))


def _without(root: Path, hidden: Path) -> list[Path]:
    """`root`, or everything below it but `hidden`, when that lies in it: Landlock can only allow."""
    if not hidden.is_relative_to(root):
        return [root]
    return [part for child in root.iterdir() if child != hidden for part in _without(child, hidden)]
