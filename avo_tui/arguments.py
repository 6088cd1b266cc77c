"""The arguments of every command, in one place: what `avo --help` shows is what the parser takes.

A command names the function that serves it as "module:function" under avo_tui/commands, so that
parsing imports none of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn

from avo_tui.examples import EXAMPLES
from engine import __version__
from engine.record.errors import UsageError

_EPILOG = """examples:
  avo run                              evolve mha_cpu on this machine and watch it
  avo run gqa_cpu --headless --minutes 10
  avo status                           the newest run; 'avo runs' lists all
  avo direct RUN "try a wider key tile" then 'avo log RUN --follow'
  avo score my_kernel/ --problem mha_cpu --json
  avo export RUN v7 -o kernel/

  avo replay                           the recorded run on an H200; needs no compiler
  avo report RUN -o report/            figures and tables of a run as one HTML page

exit codes: 0 done, 1 refused (the reason is on standard error), 2 usage or our own error"""


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")


class _Unasked:
    """Stands in for the parser of a command that nobody asked for: making fifty takes longer than the answer."""

    prog = ""

    def __getattr__(self, name: str) -> Callable[..., _Unasked]:
        return lambda *_, **__: self


class _Asked:
    """The commands of a parser, of which only one is made."""

    def __init__(self, commands: Any, name: str) -> None:
        self._commands, self._name = commands, name

    def add_parser(self, name: str, **words: Any) -> Any:
        """The parser of a command, or its stand-in."""
        return self._commands.add_parser(name, **words) if name == self._name else _Unasked()


def parser(only: str = "") -> argparse.ArgumentParser:
    """The parser of the whole command line, or of one command of it when there is one of that name."""
    top = _Parser(
        prog="avo",
        description="A terminal control room for agentic evolutionary search over kernels.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"avo {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", title="commands", parser_class=_Parser)
    for add in (_starting, _looking, _steering, _judging, _keeping, _showing):
        add(_Asked(commands, only) if only else commands)
    return top if not only or only in commands.choices else parser()


def _command(
    commands: Any, name: str, call: str, text: str, *, run: str = "", json: bool = True
) -> argparse.ArgumentParser:
    """One command. `run`: "" takes none, "?" the newest by default, "!" must be named."""
    made: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(call=call)
    if example := EXAMPLES.get(made.prog.removeprefix("avo ")):
        made.epilog = f"example:\n  {example}"
    if run:
        made.add_argument("--runs", metavar="DIR", help="where runs live (default: $AVO_RUNS, else the state folder)")
        words = "the run: its name, a unique beginning of it, or its path" + ("; default: the newest" * (run == "?"))
        made.add_argument("run", metavar="RUN", help=words, nargs="?" if run == "?" else None)
    if json:
        made.add_argument("--json", action="store_true", help="print one JSON value and nothing else")
    return made


def _runs_only(made: argparse.ArgumentParser) -> None:
    made.add_argument("--runs", metavar="DIR", help="where runs live (default: $AVO_RUNS, else the state folder)")


def _limits(made: argparse.ArgumentParser) -> None:
    made.add_argument("--versions", type=_count, metavar="N", help="stop after N committed versions beyond the seed")
    made.add_argument("--minutes", type=_positive, metavar="M", help="stop after M minutes")
    made.add_argument("--attempts", type=_count, metavar="N", help="stop after N attempts")
    made.add_argument("--budget-usd", type=_positive, metavar="X", help="stop when model calls have cost X")
    made.add_argument("--tokens", type=_count, metavar="N", help="stop after N tokens")


def _starting(commands: Any) -> None:
    run = _command(commands, "run", "start:run", "start a run, and watch it when this is a terminal", json=False)
    run.add_argument("problem", metavar="PROBLEM", nargs="?", help="a shipped problem or a folder (default: mha_cpu)")
    run.add_argument("--problem", dest="problem_path", metavar="PATH", help="the folder of your own problem")
    run.add_argument(
        "--operator",
        choices=("playbook", "agent", "external"),
        help="what varies (default: the agent when there is an API key, else the playbook)",
    )
    run.add_argument("--headless", action="store_true", help="print progress lines until the run ends")
    run.add_argument("--plain", action="store_true", help="lines instead of the control room; type help to steer")
    run.add_argument("--detach", action="store_true", help="start it and return at once")
    run.add_argument("--name", metavar="N", help="the run's name (default: problem, date and time)")
    _runs_only(run)
    _limits(run)
    run.add_argument("--model", metavar="ID", help="the agent's model")
    run.add_argument("--base-url", metavar="URL", help="where the model is served")
    run.add_argument(
        "--from", dest="from_version", metavar="RUN@vN", help="begin with another run's version as the seed"
    )
    run.add_argument("--seed", metavar="PATH", help="begin with these sources as the seed")
    run.add_argument("--threads", type=_count, metavar="N", help="threads that a candidate may use")
    run.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="D",
        help="score on this device; give several to score side by side (a CUDA index or UUID; processors such as 0-3)",
    )
    run.add_argument("--scorer", metavar="ray[=ADDRESS]", help="score on the nodes of a Ray cluster (extra 'ray')")
    run.add_argument("--config", metavar="FILE", help="a config.toml to begin from; options given here win")
    run.add_argument("--network", action="store_true", help="let the operator's shell reach the network")
    run.add_argument("--unsafe-no-sandbox", action="store_true", help="run candidates without a sandbox")
    attach = _command(
        commands, "attach", "start:attach", "watch and steer a run in the control room", run="?", json=False
    )
    attach.add_argument("--readonly", action="store_true", help="look only")
    attach.add_argument("--plain", action="store_true", help="lines instead of the control room; type help to steer")
    resume = _command(commands, "resume", "start:resume", "unpause a run, or start its engine again", run="!")
    _waiting(resume)
    _limits(resume)

    _command(commands, "watch", "service:watch", "keep a run's engine alive: start it again when it crashes", run="!",
             json=False)  # fmt: skip
    service = _command(commands, "service", "service:status", "keep a run alive through logouts and reboots (systemd)")
    inside = service.add_subparsers(metavar="install|remove|status", title="commands", parser_class=_Parser)
    _command(inside, "install", "service:install", "write a user unit for a run, and start it", run="!")
    _command(inside, "remove", "service:remove", "stop a run's service and take its unit away", run="!")
    _command(inside, "status", "service:status", "list the services of runs")


def _looking(commands: Any) -> None:
    runs = _command(commands, "runs", "look:runs", "list the runs")
    _runs_only(runs)
    _command(commands, "status", "look:status", "say where a run stands", run="?")
    log = _command(
        commands, "log", "look:log", "print a run's events; with --follow --json, one JSON value a line", run="?"
    )
    log.add_argument("--follow", "-f", action="store_true", help="go on until the run ends (or ctrl-C)")
    log.add_argument(
        "--kind", "-k", action="append", default=[], metavar="K", help="only events of this kind (several may be given)"
    )
    log.add_argument("--after", type=_count0, metavar="SEQ", help="only events after this sequence number")
    log.add_argument("--tail", "-n", type=_count0, metavar="N", help="only the last N events")
    log.add_argument("--search", metavar="TEXT", help="only events with these words")
    _command(commands, "versions", "look:versions", "list the committed versions", run="?")
    _command(commands, "costs", "ledger:show", "what each version cost, and each percent gained", run="?")
    attempts = _command(commands, "attempts", "look:attempts", "list what was tried, failures too", run="?")
    attempts.add_argument("--all", action="store_true", help="all of them, not only the last 50")
    attempts.add_argument(
        "--search", metavar="TEXT", help="only attempts with these words in name, hypothesis, reason or diff"
    )
    show = _command(commands, "show", "show:show", "show a version or an attempt with its scores and checks", run="!")
    show.add_argument("what", metavar="vN|aN", help="a version (v3) or an attempt (a12)")
    show.add_argument("--diff", action="store_true", help="also print its diff")
    diff = _command(commands, "diff", "show:diff", "print what changed between two versions", run="!")
    diff.add_argument("a", metavar="vA", help="a version; alone, it is compared with its parent")
    diff.add_argument("b", metavar="vB", nargs="?", help="the version to compare it with")
    _command(commands, "alerts", "look:alerts", "list a run's alerts", run="?")
    _command(commands, "directions", "look:directions", "list the directions and what became of them", run="?")
    _command(commands, "commands", "look:commands", "list the commands that people gave", run="?")


def _steering(commands: Any) -> None:
    def steer(name: str, text: str) -> argparse.ArgumentParser:
        made = _command(commands, name, "steer:steer", text, run="!")
        made.set_defaults(verb=name)
        _waiting(made)
        return made

    steer("pause", "pause at the next boundary; the device is then free")
    steer("interrupt", "stop what runs now and pause")
    steer("stop", "end the run; 'avo resume' starts it again")
    direct = steer("direct", "give the operator a direction")
    direct.add_argument(
        "text", metavar="TEXT", nargs="+", help="the direction; '-' reads standard input, '@FILE' a file"
    )
    rollback = steer("rollback", "make an older version the incumbent; nothing is lost")
    rollback.add_argument("version", metavar="vN", help="the version to go back to")
    steer("undo", "take back the last rollback")
    acknowledge = steer("acknowledge", "close an alert")
    acknowledge.add_argument("alert", type=int, metavar="ALERT", help="its number in 'avo alerts'")
    for name, text in (("pin", "keep to a direction"), ("veto", "rule a direction out")):
        steer(name, text).add_argument("direction", metavar="DIRECTION", help="its id in 'avo directions'")
    _limits(steer("limits", "change when the run ends"))
    steer("cancel", "take back a command that was not applied yet").add_argument(
        "number", type=int, metavar="N", help="its number"
    )


def _waiting(made: argparse.ArgumentParser) -> None:
    made.add_argument("--no-wait", action="store_true", help="do not wait for the engine's answer")
    made.add_argument("--wait", type=_positive, default=10.0, metavar="S", help="how long to wait for it (default 10)")


def _judging(commands: Any) -> None:
    score = _command(commands, "score", "judge:score", "check and time a candidate")
    _scoring(score)
    score.add_argument("source", metavar="SOURCE", help="a folder of sources, one source file, or RUN@vN")
    score.add_argument("--suite", choices=("quick", "full"), default="full", help="all configurations or the quick few")
    score.add_argument("--no-baselines", action="store_true", help="leave the baselines out")
    score.add_argument(
        "--patience", type=_seconds, metavar="S",
        help="seconds to go on measuring while figures do not agree with each other (default 10) or, of a recorded"
        " version, with the record (default 90)",
    )  # fmt: skip
    score.add_argument("--build-only", action="store_true", help="compile and read the machine code; needs no device")
    score.add_argument("--architecture", metavar="A", help="what --build-only compiles CUDA for (80, 90a, 100a)")
    bench = _command(commands, "bench", "bench:bench", "measure candidates side by side with every baseline")
    _scoring(bench)
    bench.add_argument("source", metavar="SOURCE", nargs="+", help="a folder of sources, one source file, or RUN@vN")
    bench.add_argument("--repeats", type=_count, default=10, metavar="N", help="interleaved rounds (default 10)")
    bench.add_argument("--rest", type=_seconds, default=0.0, metavar="S", help="seconds of rest before each turn (0)")
    _command(commands, "doctor", "doctor:doctor", "say what this machine can do, and what is missing").add_argument(
        "--runs", metavar="DIR", help="where runs live"
    )
    shells = _command(
        commands, "completions", "completions:show", "print what teaches a shell to complete avo", json=False
    )
    shells.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell; its first lines say where to")


def _scoring(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--problem", metavar="P", help="a shipped problem or a problem's folder; RUN@vN needs none: it is the run's"
    )
    made.add_argument(
        "--configuration",
        action="append",
        default=[],
        metavar="C",
        help="only this configuration (several may be given)",
    )
    made.add_argument("--threads", type=_count, metavar="N", help="threads that a candidate may use")
    made.add_argument("--unsafe-no-sandbox", action="store_true", help="run the candidate without a sandbox")
    _runs_only(made)


def _keeping(commands: Any) -> None:
    export = _command(
        commands, "export", "keep:export", "write a version's sources with its score and how to build it", run="!"
    )
    export.add_argument("version", metavar="vN", help="the version, or 'best'")
    export.add_argument("-o", "--output", required=True, metavar="DIR", help="a folder that does not exist or is empty")
    archive = _command(commands, "archive", "archive:archive", "write a whole run to one file", run="!")
    archive.add_argument("-o", "--output", required=True, metavar="FILE", help="the .tar.gz to write")
    archive.add_argument(
        "--artifacts",
        choices=("all", "logs", "none"),
        default="all",
        help="logs leaves out the sources of attempts, none every log too (default: all)",
    )
    archive.add_argument(
        "--forget",
        action="append",
        default=[],
        metavar="TEXT",
        help="leave this text out, for example a path's beginning",
    )
    verify = _command(commands, "verify", "verify:verify", "check a run or an archive against its own hashes")
    verify.add_argument("run", metavar="RUN|FILE", help="a run's name or path, or an archive")
    _runs_only(verify)
    restore = _command(commands, "restore", "archive:restore", "bring an archived run, or a shipped lineage, back")
    restore.add_argument("file", metavar="FILE", help="an archive, or a folder of kernels/PROBLEM/lineages")
    restore.add_argument("--name", metavar="N", help="the run's name here (default: the one it had)")
    _runs_only(restore)
    knowledge = _command(commands, "knowledge", "knowledge:usage", "search and extend the knowledge base", json=False)
    inside = knowledge.add_subparsers(
        metavar="search|list|show|add|learn|remove", title="commands", parser_class=_Parser
    )
    search = _command(inside, "search", "knowledge:search", "find pages that say something about TEXT")
    search.add_argument("text", metavar="TEXT", nargs="+", help="words")
    listed = _command(inside, "list", "knowledge:every", "list the pages")
    listed.add_argument("--lessons", action="store_true", help="only what earlier runs have learned")
    _command(inside, "show", "knowledge:show", "print a page").add_argument("page", metavar="PAGE", help="its name")
    add = _command(inside, "add", "knowledge:add", "add a file, a folder, a web page or a repository")
    add.add_argument("source", metavar="PATH_OR_URL", help="what to add")
    _command(inside, "learn", "knowledge:learn", "distil a run's lessons into a page of your own", run="!")
    remove = _command(inside, "remove", "knowledge:remove", "take out a page of your own")
    remove.add_argument("page", metavar="PAGE", help="its name")


def _showing(commands: Any) -> None:
    replay = _command(
        commands, "replay", "replay:replay", "play a run that was, again, from its start; changes nothing", json=False
    )
    replay.add_argument(
        "source", metavar="SOURCE", nargs="?",
        help="a run, an archive's file, or a recorded run that came with AVO (default: mha_cuda/h200-1122)",
    )  # fmt: skip
    replay.add_argument("--speed", type=_speed, default=60.0, metavar="X", help="times as fast as it was, or max (60)")
    replay.add_argument("--plain", action="store_true", help="lines instead of the control room")
    _runs_only(replay)
    serve = _command(commands, "serve", "serve:serve", "show a run's control room in a browser", run="?", json=False)
    serve.add_argument("--control", action="store_true", help="let the browser steer too, not only look")
    serve.add_argument("--host", metavar="H", default="127.0.0.1", help="the address to serve on (default 127.0.0.1)")
    serve.add_argument("--port", type=_count0, metavar="N", default=8765, help="the port (default 8765; 0: any free)")
    report = _command(commands, "report", "report:report", "write a run's figures and tables as one HTML page", run="!")
    report.add_argument("-o", "--output", required=True, metavar="DIR", help="a folder; an earlier report is replaced")


def _count(text: str) -> int:
    value = _count0(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _count0(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _speed(text: str) -> float:
    return math.inf if text == "max" else _positive(text)


def _seconds(text: str) -> float:
    return 0.0 if text == "0" else _positive(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value
