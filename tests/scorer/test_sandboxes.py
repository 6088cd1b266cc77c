"""Attacks from an operator's shell, on both sandboxes; and what is chosen where one of them is not to be had."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import ROOT, path_without

from engine.record.errors import Refused
from engine.scorer import sandbox as boxes
from engine.scorer import toolchain
from engine.scorer.sandbox import BWRAP, LANDLOCK, Sandbox

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture(scope="module", params=[BWRAP, LANDLOCK])
def box(request: pytest.FixtureRequest) -> Sandbox:
    """Each tier that holds on this machine."""
    if request.param == BWRAP and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed; apt-get install bubblewrap")
    found = boxes._candidate(request.param, toolchain.find())
    broken = [p for p in boxes._probed(found) if not p.passed]
    if broken:
        pytest.skip(f"{request.param} does not hold here: {broken[0].name} {broken[0].detail}")
    return found


@pytest.fixture
def workspace() -> Iterator[Path]:
    """A workspace beside files that everybody on the host may read and write."""
    with tempfile.TemporaryDirectory(prefix="avo-shell-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        (place / "workspace").mkdir()
        (place / "journal.db").write_text("journal-secret")
        (place / "journal.db").chmod(0o666)
        yield place / "workspace"


class Ran:
    """How a confined command ended."""

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text


def start(box: Sandbox, workspace: Path, command: str, **more: bool) -> subprocess.Popen[str]:
    job = boxes.confine(box, ["sh", "-c", command], writable=workspace, **more)
    return subprocess.Popen(
        job.argv,
        env=job.env,
        cwd=job.cwd,
        pass_fds=job.pass_fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def shell(box: Sandbox, workspace: Path, command: str, **more: bool) -> Ran:
    process = start(box, workspace, command, **more)
    text, _ = process.communicate(timeout=60)
    return Ran(process.returncode, text)


def test_honest_work_goes_on_as_usual(box: Sandbox, workspace: Path):
    (workspace / "hello.cpp").write_text('#include <cstdio>\nint main() { std::puts("built and run"); }\n')
    work = "g++ -O2 -fopenmp hello.cpp -o hello && ./hello && mkdir d && echo x > d/f && cat d/f && pwd && rm -r d"
    done = shell(box, workspace, work)
    assert done.code == 0, done.text
    assert done.text.startswith("built and run\nx\n")
    assert (workspace / "hello").is_file()
    assert "git version" in shell(box, workspace, "git --version; git init -q . && git add -A").text
    assert shell(box, workspace, "exit 7").code == 7
    assert shell(box, workspace, "kill -9 $$").code in (-9, 137)
    assert shell(box, workspace, "timeout 0.1 sleep 5").code == 124


def test_the_key_is_not_in_its_environment(box: Sandbox, workspace: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-the-key")
    text = shell(box, workspace, "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; set").text
    assert "sk-the-key" not in text
    assert "ANTHROPIC" not in text


def test_it_cannot_read_its_parents_environment_or_memory(box: Sandbox, workspace: Path):
    parents = [pid for pid in (os.getpid(), os.getppid()) if pid > 1]  # in a pid namespace 1 is its own
    attack = f"cat {' '.join(f'/proc/{pid}/environ' for pid in parents)}; head -c 10 /proc/{os.getpid()}/mem"
    assert "PATH=" not in shell(box, workspace, attack).text
    tracer = (
        "#include <sys/ptrace.h>\n#include <sys/uio.h>\n#include <cstdio>\n"
        f"int main() {{ char b; iovec i{{&b, 1}}, r{{(void*)0x400000, 1}}; "
        f"if (ptrace(PTRACE_SEIZE, {os.getpid()}, 0, 0) == 0 || process_vm_readv({os.getpid()}, &i, 1, &r, 1, 0) == 1) "
        'std::puts("GOT IN"); std::puts("end"); }\n'
    )
    (workspace / "t.cpp").write_text(tracer)
    assert shell(box, workspace, "g++ t.cpp -o t && ./t").text == "end\n"


@pytest.mark.parametrize(
    "path",
    [ROOT / "engine" / "scorer" / "judge.py", ROOT / "kernels" / "mha_cpu" / "reference.py", Path("/etc/shadow")],
)
def test_it_cannot_read_the_scorer_the_holdouts_or_the_hosts_secrets(box: Sandbox, workspace: Path, path: Path):
    assert shell(box, workspace, f"cat {path} && echo READ").text.count("READ") == 0


def test_it_can_neither_read_nor_write_the_journal(box: Sandbox, workspace: Path):
    journal = workspace.parent / "journal.db"
    text = shell(
        box, workspace, f"cat {journal} ../journal.db; echo forged > {journal}; echo forged > ../journal.db"
    ).text
    assert "journal-secret" not in text
    assert journal.read_text() == "journal-secret"


def test_it_cannot_write_outside(box: Sandbox, workspace: Path):
    targets = ["/tmp/avo-shell-was-here", "/var/tmp/avo-shell-was-here", f"{ROOT}/avo-shell-was-here", "/usr/avo-shell"]
    shell(box, workspace, "; ".join(f"touch {t}" for t in targets))
    assert not any(Path(t).exists() for t in targets)


def test_a_symlink_in_the_workspace_leads_nowhere(box: Sandbox, workspace: Path):
    (workspace / "way").symlink_to(workspace.parent)
    (workspace / "passwd").symlink_to("/etc/passwd")
    text = shell(
        box, workspace, "cat way/journal.db passwd; echo x > way/new; ln -s / root; ls root/work root/root"
    ).text
    assert "journal-secret" not in text and "root:x:0" not in text
    assert not (workspace.parent / "new").exists()


def test_there_is_no_network(box: Sandbox, workspace: Path):
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as local:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        path = Path(folder) / "docker.sock"
        Path(folder).chmod(0o755)
        local.bind(str(path))
        local.listen()
        path.chmod(0o777)
        probe = (
            "import socket\n"
            f"for family, to in ((socket.AF_INET, ('127.0.0.1', {listener.getsockname()[1]})), (socket.AF_UNIX, {str(path)!r})):\n"
            "    try:\n        socket.socket(family).connect(to); print('CONNECTED')\n"
            "    except OSError as e: print('no', e)\n"
            "try:\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53)); print('SENT')\n"
            "except OSError as e: print('no', e)\n"
        )
        (workspace / "p.py").write_text(probe)
        text = shell(box, workspace, "/usr/bin/python3 p.py || perl -e 'use IO::Socket::INET; print 1'").text
        assert "CONNECTED" not in text and "SENT" not in text


def test_the_network_is_there_when_the_run_allows_it(box: Sandbox, workspace: Path):
    if not Path("/usr/bin/python3").exists():
        pytest.skip("needs /usr/bin/python3")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        code = (
            f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]})); print('CONNECTED')"
        )
        assert "CONNECTED" in shell(box, workspace, f'/usr/bin/python3 -c "{code}"', network=True).text


def test_a_daemon_dies_with_the_command(box: Sandbox, workspace: Path):
    daemon = "(setsid sh -c : ; set -m; sh -c 'trap \"\" HUP TERM; while :; do date +%s%N > alive; sleep 0.02; done' &) ; sleep 0.3; echo up; sleep 30"
    process = start(box, workspace, daemon)
    assert process.stdout is not None
    with process.stdout:
        assert any(line == "up\n" for line in process.stdout)
        boxes.kill(process.pid)
        process.wait()
    deadline = time.monotonic() + 5
    while True:
        before = (workspace / "alive").read_text() if (workspace / "alive").exists() else ""
        time.sleep(0.15)
        after = (workspace / "alive").read_text() if (workspace / "alive").exists() else ""
        if before == after:
            break
        assert time.monotonic() < deadline, "the daemon still writes"


def test_a_program_whose_first_thread_has_ended_is_killed_too(box: Sandbox, workspace: Path, tmp_path: Path):
    """Linux shows it as a zombie while its other threads work on."""
    code = """
#include <pthread.h>
#include <unistd.h>
static void *work(void *none) { for (;;) usleep(1000); return none; }
int main(void) {
    pthread_t thread;
    setpgid(0, 0);
    if (pthread_create(&thread, NULL, work, NULL) == 0) write(1, "up\\n", 3), close(1), close(2);
    pthread_exit(NULL);
}
"""
    (workspace / "half.c").write_text(code)
    subprocess.run(["cc", "-pthread", "-o", workspace / "half", workspace / "half.c"], check=True, timeout=60)
    job = boxes.confine(box, ["sh", "-c", "./half & sleep 30"], writable=workspace)
    read, write = os.pipe()
    process = subprocess.Popen(
        job.argv,
        env=job.env,
        cwd=job.cwd,
        pass_fds=(*job.pass_fds, write),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(write)
    assert process.stdout is not None
    with process.stdout, os.fdopen(read, "rb") as held:
        assert process.stdout.readline() == b"up\n"
        boxes.kill(process.pid)
        process.wait()
        assert select.select([held], [], [], 5.0)[0], "its other thread outlived the kill"


def test_a_fork_storm_ends_at_a_limit(box: Sandbox, workspace: Path):
    storm = "i=0; while [ $i -lt 2000 ]; do sleep 3 & i=$((i+1)); done 2>/dev/null; echo started; kill $(jobs -p) 2>/dev/null"
    begin = time.monotonic()
    process = start(box, workspace, storm)
    time.sleep(1.5)
    with_limit = len([p for p in Path("/proc").iterdir() if p.name.isdigit() and _is_sleeper(p)])
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert with_limit < 1000
    assert time.monotonic() - begin < 20
    assert shell(box, workspace, "echo fine").text == "fine\n"


def _is_sleeper(process: Path) -> bool:
    try:
        return (process / "cmdline").read_bytes() == b"sleep\x003\x00"
    except OSError:
        return False


def test_no_single_file_fills_the_disk_and_a_full_workspace_is_noticed(box: Sandbox, workspace: Path, monkeypatch):
    shell(
        box,
        workspace,
        "dd if=/dev/zero of=big bs=1M count=400 2>/dev/null; dd if=/dev/zero of=/tmp/big bs=1M count=800",
    )
    assert (workspace / "big").stat().st_size <= boxes.SHELL.file_bytes
    assert boxes.overfull(workspace) is None
    monkeypatch.setattr(boxes, "WORKSPACE_LIMIT_BYTES", 64 << 20)
    assert "holds more than" in str(boxes.overfull(workspace))


def test_it_is_nobody_and_can_become_nobody_else(box: Sandbox, workspace: Path):
    done = shell(
        box,
        workspace,
        "id -u; cat /proc/self/status | grep -E '^(CapEff|NoNewPrivs)'; su -c id root </dev/null; unshare -Ur id -u",
    )
    assert done.text.split()[0] != "0"
    assert "uid=0" not in done.text
    assert "\n0\n" not in done.text.replace("CapEff:\t0000000000000000", "")


def test_settings_of_the_host_stay_as_they_are(box: Sandbox, workspace: Path):
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    shell(
        box,
        workspace,
        "echo '|/bin/sh' > /proc/sys/kernel/core_pattern; mount -t tmpfs none /tmp; renice -n -5 1; hostname evil",
    )
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before
    assert socket.gethostname() != "evil"


def test_git_traps_in_a_workspace_are_not_sprung_by_the_scorer(scorer, box: Sandbox, workspace: Path):
    """Hooks, filters and fsmonitor of a repository that an operator planted; the scorer only copies source files."""
    shutil.copy(Path(__file__).parent / "honest" / "naive.cpp", workspace / "attention.cpp")
    trap = "git init -q . && printf '#!/bin/sh\\ntouch /tmp/avo-cheat-was-here\\n' > .git/hooks/post-checkout && chmod +x .git/hooks/*"
    trap += " && git config core.fsmonitor 'touch /tmp/avo-cheat-was-here' && echo '*.cpp filter=x' > .gitattributes"
    trap += " && git config filter.x.clean 'touch /tmp/avo-cheat-was-here; cat'"
    assert shell(box, workspace, trap).code == 0
    assert scorer.score(workspace)["correct"]
    assert not Path("/tmp/avo-cheat-was-here").exists()


@ROOT_ONLY
def test_preparing_a_workspace_never_follows_a_link(box: Sandbox, workspace: Path):
    outside = workspace.parent / "journal.db"
    (workspace / "link").symlink_to(outside)
    (workspace / "hard").hardlink_to(outside)
    (workspace / "sub").mkdir()
    (workspace / "sub" / "file").touch()
    boxes.prepare(box, workspace)
    uid = boxes.shell_uid(workspace)
    assert (workspace / "sub" / "file").stat().st_uid == uid == workspace.stat().st_uid
    assert outside.stat().st_uid == 0


@ROOT_ONLY
def test_a_workspace_below_roots_home_is_reached_all_the_same(box: Sandbox):
    with tempfile.TemporaryDirectory(dir="/root") as folder:
        Path(folder, "file").write_text("mine\n")
        done = shell(box, Path(folder), "cat file && echo new > other && ls /root")
        assert done.text.startswith("mine\n"), done.text
        assert Path(folder, "other").read_text() == "new\n"


def test_a_workspace_that_is_gone_or_is_a_link_is_refused(box: Sandbox, workspace: Path):
    (workspace.parent / "alias").symlink_to(workspace)
    for path in (workspace / "missing", workspace.parent / "alias"):
        with pytest.raises(Refused, match="not a folder"):
            boxes.confine(box, ["true"], writable=path)


# ---- which sandbox is chosen

CHOOSE = """
from engine.record.errors import Refused
from engine.scorer import sandbox
try:
    print(sandbox.choose().tier)
except Refused as refused:
    print("refused:", refused)
print(sandbox.choose(unsafe=True).tier)
"""
# Denies landlock_create_ruleset (444 everywhere), as a kernel without Landlock does.
NO_LANDLOCK = """
import ctypes, os, struct, sys
code = struct.pack("HBBI", 0x20, 0, 0, 0) + struct.pack("HBBI", 0x15, 0, 1, 444)
code += struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | 38) + struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
buffer = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxQ", 4, ctypes.addressof(buffer))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def chosen(
    *prefix: str, environment: dict[str, str] | None = None, python: str = sys.executable, **more: object
) -> list[str]:
    argv = [*prefix, python, "-c", CHOOSE]
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_bubblewrap_is_chosen_where_it_holds():
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed; apt-get install bubblewrap")
    assert chosen()[0] == BWRAP


def test_landlock_is_chosen_without_bubblewrap(tmp_path: Path):
    assert chosen(environment={"PATH": path_without("bwrap", place=tmp_path / "bin")})[0] == LANDLOCK


def test_landlock_is_chosen_without_user_namespaces():
    """As in a container: the launcher's own filter refuses every new namespace."""
    launcher = toolchain.launcher(toolchain.find())
    assert chosen(str(launcher), "--seccomp", "--")[0] == LANDLOCK


def test_without_any_sandbox_nothing_runs_unless_the_person_says_so(tmp_path: Path):
    path = path_without("bwrap", place=tmp_path / "bin")
    lines = chosen(sys.executable, "-c", NO_LANDLOCK, environment={"PATH": path})
    assert lines[0].startswith("refused: no sandbox holds here")
    assert "bubblewrap" in lines[0] and "--unsafe-no-sandbox" in lines[0]
    assert lines[1] == "none"


@ROOT_ONLY
@pytest.mark.parametrize("without", [(), ("bwrap",)])
def test_an_ordinary_user_has_a_sandbox_too(without: tuple[str, ...], tmp_path: Path):
    python = "/usr/bin/python3"
    if not Path(python).exists() or subprocess.run([python, "-c", "import tomllib"], capture_output=True).returncode:
        pytest.skip("needs a Python 3.11 that an ordinary user can run")
    if not all(p.stat().st_mode & 1 for p in (ROOT, *ROOT.parents)):
        pytest.skip("the checkout lies where an ordinary user cannot read it")
    with tempfile.TemporaryDirectory(prefix="avo-user-") as home:
        os.chown(home, 1234, 1234)
        place = Path(home) / "bin"
        environment = {"HOME": home, "AVO_CACHE": f"{home}/cache", "PATH": path_without(*without, place=place)}
        lines = chosen(environment=environment, python=python, user=1234, group=1234, extra_groups=[])
        assert lines[0] == (LANDLOCK if without or not shutil.which("bwrap") else BWRAP)
