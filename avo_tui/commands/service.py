"""Services: a run that starts again after a crash, a logout or a reboot, by systemd or by a watchdog of its own.

One rule: whatever the machine offers, the same watchdog (engine/watch.py) does the work; systemd only keeps it.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json, run_of
from engine.record.errors import ConfigError, Refused
from engine.record.reader import Reader
from engine.record.run import RunFolder

UNIT = """\
[Unit]
Description=AVO run {name}
Documentation=man:systemd.service(5)
StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=exec
ExecStart={command}
# The API key of the agent, when it needs one: ANTHROPIC_API_KEY=... in a file of mode 0600.
EnvironmentFile=-%E/avo/environment
Environment={path}
# The watchdog starts a crashed engine again, later each time; this is for the watchdog itself. 1: it gave up.
Restart=on-failure
RestartSec=10
RestartPreventExitStatus=1
KillMode=mixed
TimeoutStopSec=90
UMask=0077

[Install]
WantedBy=default.target
"""


def watch(arguments: Namespace) -> int:
    """`avo watch RUN`: this process becomes the run's watchdog."""
    folder = run_of(arguments)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", "engine.watch", str(folder.path)], _environment())  # noqa: S606


def install(arguments: Namespace) -> int:
    """`avo service install RUN`: write the user unit, and start it where systemd is at hand."""
    folder = run_of(arguments)
    unit = unit_path(folder)
    try:
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text(unit_text(folder), "utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {unit}: {error.strerror}") from error
    reason = _systemctl("daemon-reload") or _systemctl("enable", "--now", unit.name)
    notes = []
    if reason:
        notes.append(f"systemd did not take it ({reason}); 'avo watch {folder.name}' does the same without systemd")
    if _has_ended(folder):
        notes.append(f"run {folder.name} has ended; 'avo resume {folder.name}' goes on with it, and then it is kept")
    if not _lingers():
        notes.append(f"it ends when you log out and starts when you log in; 'loginctl enable-linger {_user()}' lets it "
                     "run without you, from the machine's start")  # fmt: skip
    if arguments.json:
        print_json({"run": folder.name, "unit": str(unit), "started": not reason, "notes": notes})
    else:
        print("\n".join([f"{unit} written" + ("" if reason else " and started"), *notes]))
    return 0


def remove(arguments: Namespace) -> int:
    """`avo service remove RUN`: stop and forget the unit. The run itself stays."""
    folder = run_of(arguments)
    unit = unit_path(folder)
    if not unit.is_file():
        raise Refused(f"run {folder.name} has no service; 'avo service status' lists those there are")
    _systemctl("disable", "--now", unit.name)
    unit.unlink()
    _systemctl("daemon-reload")
    if arguments.json:
        print_json({"run": folder.name, "unit": str(unit), "removed": True})
    else:
        print(f"{unit} removed; the run stays, 'avo resume {folder.name}' goes on with it")
    return 0


def status(arguments: Namespace) -> int:
    """`avo service status`: every unit of ours, and what systemd says of it."""
    rows = []
    for unit in sorted(_units().glob("avo-*.service")):
        state = _ask("is-active", unit.name)
        rows.append({"run": unit.stem.removeprefix("avo-"), "unit": str(unit), "state": state or "systemd is not here"})
    if arguments.json:
        print_json(rows)
    elif not rows:
        print("no run has a service; 'avo service install RUN' makes one")
    else:
        print("\n".join(f"{row['run']:<24} {row['state']:<20} {row['unit']}" for row in rows))
    return 0


def wake(folder: RunFolder) -> bool:
    """Start the unit of a run that goes on, when it has one: its watchdog takes the living engine over."""
    unit = unit_path(folder)
    return unit.is_file() and not _systemctl("start", "--no-block", unit.name)


def unit_path(folder: RunFolder) -> Path:
    """Where a run's unit lies."""
    return _units() / f"avo-{folder.name}.service"


def unit_text(folder: RunFolder) -> str:
    """A run's unit. Paths are quoted, and `%` and `$`, which mean something to systemd, doubled."""
    words = [sys.executable, "-P", "-m", "engine.watch", str(folder.path)]
    here = str(Path(__file__).resolve().parent.parent.parent)
    return UNIT.format(
        name=_plain(folder.name),
        command=" ".join(_quoted(w, dollars=True) for w in words),
        path=_quoted(f"PYTHONPATH={here}"),
    )


def _quoted(text: str, *, dollars: bool = False) -> str:
    plain = _plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (plain.replace("$", "$$") if dollars else plain) + '"'


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _units() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "systemd" / "user"


def _systemctl(*words: str) -> str:
    """Run systemctl for this user; "" when it went well, else the reason in a few words."""
    if shutil.which("systemctl") is None:
        return "systemctl is not installed"
    done = subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it said nothing"])[-1]


def _ask(*words: str) -> str:
    """systemctl's one word on a unit, or "" without systemd."""
    if shutil.which("systemctl") is None:
        return ""
    done = subprocess.run(["systemctl", "--user", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _has_ended(folder: RunFolder) -> bool:
    with Reader(folder.journal) as reader:
        engine = reader.engine()
    return engine is not None and engine.state == "finished"


def _lingers() -> bool:
    return Path("/var/lib/systemd/linger", _user()).exists()


def _user() -> str:
    return getpass.getuser()


def _environment() -> dict[str, str]:
    """This environment, with the place of this very `engine` first, also when it is not installed."""
    here, before = str(Path(__file__).resolve().parent.parent.parent), os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": here + (os.pathsep + before if before else "")}
