"""`avo service` writes a unit that systemd itself finds good; `avo watch` keeps an engine alive without systemd."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from tiny import until

from engine.record.reader import Reader

ROOT = Path(__file__).parent.parent.parent
SYSTEMD = Path("/lib/systemd/systemd")
KEPT = f"kept-{os.getpid()}"  # no unit of this machine's is called so
# A systemd refuses to run where none booted, so it gets a /run of its own that says so.
BOOTED = f"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec {SYSTEMD} --user"


@pytest.fixture
def plain(past, tmp_path, monkeypatch):
    """The finished run's shell with a home of its own and no systemd on its PATH but the real tools."""
    monkeypatch.setitem(past.env, "XDG_CONFIG_HOME", str(tmp_path / "config"))
    return past


def test_a_service_is_installed_listed_and_removed(plain, tmp_path):
    unit = tmp_path / "config" / "systemd" / "user" / "avo-climb.service"
    made = plain("service", "install", "climb", "--json").json
    assert made["unit"] == str(unit) and unit.is_file()
    assert any("loginctl enable-linger" in note for note in made["notes"])
    if not made["started"]:
        assert any("avo watch climb" in note for note in made["notes"])
    rows = plain("service", "status", "--json").json
    assert [row["run"] for row in rows] == ["climb"]
    assert plain("service", "remove", "climb").code == 0
    assert not unit.exists()
    plain("service", "remove", "climb").refused(1, "has no service")
    assert "no run has a service" in plain("service", "status").out


def test_the_unit_restarts_on_failure_with_patience_and_holds_no_key(plain, tmp_path):
    plain.env["ANTHROPIC_API_KEY"] = "sk-not-in-any-unit"
    try:
        plain("service", "install", "climb")
    finally:
        del plain.env["ANTHROPIC_API_KEY"]
    text = (tmp_path / "config" / "systemd" / "user" / "avo-climb.service").read_text()
    assert "Restart=on-failure" in text and "RestartSec=" in text and "StartLimitBurst=" in text
    assert "EnvironmentFile=-%E/avo/environment" in text and "sk-not-in-any-unit" not in text
    assert f'"{plain.runs / "climb"}"' in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(plain, tmp_path):
    plain("service", "install", "climb")
    unit = tmp_path / "config" / "systemd" / "user" / "avo-climb.service"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)], capture_output=True, text=True, env=environment, check=False
    )
    wrong = [line for line in done.stderr.splitlines() if unit.name in line]
    assert wrong == [], done.stderr


def test_a_watched_run_survives_the_death_of_its_engine(avo):
    avo.env["CLIMBER_STEPS"] = "1000"
    folder = avo.start("kept")
    dog = avo.popen("watch", "kept")
    try:
        first = _engine(folder)
        os.kill(first, signal.SIGKILL)
        until(lambda: _engine(folder) != first)
        assert avo("stop", "kept").code == 0
        _, said = dog.communicate(timeout=60)
        assert dog.returncode == 0, said
        assert "engine" in said and "was started" in said
    finally:
        dog.kill()
        dog.wait()


def _engine(folder) -> int:
    with Reader(Path(folder.journal)) as reader:
        engine = reader.engine()
    assert engine is not None
    return engine.pid


class Manager:
    """A real `systemd --user` of the test's own, beside whatever this machine runs."""

    def __init__(self, home: Path) -> None:
        self._runtime = Path(tempfile.mkdtemp(prefix="avo-systemd-", dir="/tmp"))  # a socket's path is short
        self.env = {"XDG_RUNTIME_DIR": str(self._runtime), "XDG_CONFIG_HOME": str(home / "config"), "HOME": str(home)}
        self._log = home / "systemd.log"

    def boot(self) -> None:
        """Start it; skips the test where it cannot run."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", BOOTED], stdout=log, stderr=log, env={**os.environ, **self.env}
            )
        socket = self._runtime / "systemd" / "private"
        until(lambda: socket.exists() or self._process.poll() is not None)
        if self._process.poll() is not None:
            pytest.skip(f"systemd --user does not run here: {self._log.read_text()[-200:]}")

    def cut(self) -> None:
        """The power goes: the manager and all that it runs are gone at once."""
        pids = [int(p) for unit in self._groups() for p in (unit / "cgroup.procs").read_text().split()]
        for pid in (self._process.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._runtime / "systemd", ignore_errors=True)

    def end(self) -> None:
        """Stop it in order."""
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._runtime, ignore_errors=True)

    @staticmethod
    def _groups() -> list[Path]:
        return [p for p in Path("/sys/fs/cgroup").rglob(f"avo-{KEPT}.service") if (p / "cgroup.procs").is_file()]


@pytest.fixture
def manager(avo):
    """The manager, and a shell that speaks to it. What its services need beyond the unit lies in %E/avo/environment."""
    if os.geteuid() != 0 or not SYSTEMD.is_file() or shutil.which("unshare") is None:
        pytest.skip("needs root, systemd and unshare")
    found = Manager(avo.home)
    given = avo.home / "config" / "avo" / "environment"
    given.parent.mkdir(parents=True)
    path = os.pathsep.join([str(ROOT), avo.env["PYTHONPATH"]])
    given.write_text(f"PYTHONPATH={path}\nCLIMBER_STEPS=1000\n")
    found.boot()
    avo.env |= {**found.env, "CLIMBER_STEPS": "1000"}
    yield found
    found.end()


def test_a_real_systemd_keeps_a_run_through_a_crash_and_a_power_cut(avo, manager):
    folder = avo.start(KEPT)
    made = avo("service", "install", KEPT, "--json").json
    assert made["started"], made
    assert [row["state"] for row in avo("service", "status", "--json").json] == ["active"]
    first = _engine(folder)
    os.kill(first, signal.SIGKILL)
    until(lambda: _engine(folder) != first)
    second = _engine(folder)
    manager.cut()
    until(lambda: not Path(f"/proc/{second}").exists())
    manager.boot()
    until(lambda: _engine(folder) != second)
    assert avo("stop", KEPT).code == 0
    until(lambda: [row["state"] for row in avo("service", "status", "--json").json] == ["inactive"])
    assert "kept by its service" in avo("resume", KEPT).out
    until(lambda: [row["state"] for row in avo("service", "status", "--json").json] == ["active"])
    assert avo("service", "remove", KEPT).code == 0
    assert avo("service", "status", "--json").json == []
