"""`avo service` writes a unit that systemd itself finds good; `avo watch` keeps an engine alive without systemd."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from waiting import until

from engine.record.reader import Reader


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
