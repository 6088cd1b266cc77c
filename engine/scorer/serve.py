"""The scorer's process: requests in, progress and results out, as JSON.

One rule: a request ends with exactly one `result` or one `error` line, whatever happens. A cancel and SIGTERM kill
every child at once.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engine.record.errors import AvoError, Refused, ScorerError, UsageError
from engine.scorer import machine, problem, sandbox
from engine.scorer import toolchain as tools
from engine.scorer.children import Children, become_subreaper
from engine.scorer.failure import Cancelled
from engine.scorer.importing import TORCH
from engine.scorer.problem import Problem, Suite

if TYPE_CHECKING:
    from engine.scorer.bench import Bench, Emit, Options, Recorded

# What a candidate cannot cause in the judge: the disk is full, read-only or over quota, memory or descriptors are out.
HOST_TROUBLE = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
OPERATIONS = ("score", "rounds", "profile", "baseline", "build", "probe")


class Server:
    """Answers requests one at a time; keeps the toolchain and one judge per problem."""

    def __init__(self) -> None:
        become_subreaper()
        self.children = Children(sandbox.unchosen())
        self._benches: dict[tuple[str, str, int], Bench] = {}
        self._programs: tuple[Path, ...] = ()  # ours in the build cache

    def answer(self, request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
        """The result of one request. Raises AvoError for ours to report, Cancelled after a cancel."""
        try:
            return self._answer(request, emit)
        except OSError as error:
            if error.errno not in HOST_TROUBLE:
                raise
            raise ScorerError(f"{error.filename or tools.default_cache()}: {error.strerror}") from error

    def _answer(self, request: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
        operation = request.get("op", "score")
        if operation not in OPERATIONS:
            raise UsageError(f"unknown op {operation!r}; known: {', '.join(OPERATIONS)}")
        if operation == "probe":
            return self._probe(request)
        chosen = problem.load(_needed(request, "problem"))
        self._look_at_the_cache()
        if operation != "build" and _needs_torch(request, chosen):
            TORCH.begin()
        self.children.sandbox = sandbox.choose(unsafe=bool(request.get("unsafe_no_sandbox", False)))
        if operation == "build":
            return self._build(request, chosen)
        bench = self._bench(request, chosen)
        options = _options(bench, request)
        return self._measured(operation, request, bench, options, emit)

    def _measured(
        self, operation: Any, request: Mapping[str, Any], bench: Bench, options: Options, emit: Emit
    ) -> dict[str, Any]:
        """The result of a request that runs a kernel."""
        from engine.scorer import evaluate

        if operation == "score":
            source = Path(_needed(request, "source"))
            with_baselines = bool(request.get("baselines", False))
            return evaluate.score(bench, source, options, emit, with_baselines=with_baselines).to_json()
        if operation == "rounds":
            from engine.scorer.baselines import every
            from engine.scorer.rounds import rounds

            sources = every(bench.judge, [str(s) for s in _needed(request, "sources")])
            count, first = int(request.get("rounds", 2)), int(request.get("first", 0))
            options = replace(options, rest_s=float(request.get("rest_s") or 0.0))
            return rounds(bench, sources, options, emit, count=count, first=first)
        if operation == "baseline":
            from engine.scorer.baselines import names

            asked = names(bench.judge, request.get("names"))
            return {n: evaluate.baseline_score(bench, n, options, emit).to_json() for n in asked}
        return bench.device.profile(bench, Path(_needed(request, "source")), options, emit)

    def _look_at_the_cache(self) -> None:
        """There must be space; and when somebody removed the cache, everything that lay in it is made again."""
        tools.require_space(tools.default_cache())
        if not all(program.exists() for program in self._programs):
            tools.find.cache_clear()
            sandbox.forget()
            self._benches.clear()
        toolchain = tools.find()
        self._programs = (tools.launcher(toolchain), tools.runner(toolchain))

    def _bench(self, request: Mapping[str, Any], chosen: Problem) -> Bench:
        threads = int(request.get("threads") or machine.threads())
        stamp = (chosen.folder / "problem.toml").read_text("utf-8") + chosen.reference.read_text("utf-8")
        key = (str(chosen.folder), stamp, threads)
        if key not in self._benches:
            if chosen.device == "cuda":
                from engine.scorer.cuda import driver

                driver.wake()
                TORCH.wait()
            self._benches[key] = _open(chosen, threads, self.children)
        return self._benches[key]

    def _build(self, request: Mapping[str, Any], chosen: Problem) -> dict[str, Any]:
        """Compile only: no device is opened."""
        from engine.scorer.compiled import compiled

        source = Path(_needed(request, "source"))
        timeout_s = float(request.get("build_timeout_s") or 120.0)
        return compiled(chosen, source, self.children, str(request.get("architecture") or ""), timeout_s)

    def _probe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        toolchain = tools.find()
        count = int(request.get("threads") or machine.threads())
        return {
            "device": machine.device(count),
            "threads": count,
            "compiler": toolchain.version,
            "cache": str(toolchain.cache),
            "sandbox": _sandbox(),
        }


def _needs_torch(request: Mapping[str, Any], chosen: Problem) -> bool:
    """Whether torch will be wanted, so that it can come while something else is done.

    Baselines of a score are measured after the candidate, when it is correct: a wrong one is told without torch.
    """
    if chosen.device == "cuda" or request.get("op") == "baseline" or request.get("then_baselines"):
        return True
    from engine.scorer.baselines import PREFIX
    from engine.scorer.truth import needs_reference

    sources = [str(source) for source in request.get("sources") or ()]
    return any(source.startswith(PREFIX) for source in sources) or needs_reference(chosen, tools.find())


def _sandbox() -> dict[str, Any]:
    """The tier that holds here and its probes; without one, every tier's and what broke it."""
    try:
        chosen = sandbox.choose()
        return {"tier": chosen.tier, "probes": [asdict(p) for p in chosen.probes], "reason": ""}
    except Refused as refused:
        tried = sandbox.available().items()
        probes = [{**asdict(p), "name": f"{tier}: {p.name}"} for tier, found in tried for p in found]
        return {"tier": sandbox.NONE, "probes": probes, "reason": str(refused)}


def _open(chosen: Problem, threads: int, children: Children) -> Bench:
    from engine.scorer.bench import Bench
    from engine.scorer.device import open_device

    return Bench(open_device(chosen, threads), children)


def _options(bench: Bench, request: Mapping[str, Any]) -> Options:
    from engine.scorer import evaluate

    chosen = bench.judge.problem
    suite = request.get("suite", "full")
    if suite not in ("quick", "full"):
        raise UsageError(f"suite = {suite!r} is not quick or full")
    return evaluate.options(
        chosen,
        cast(Suite, suite),
        request.get("configurations"),
        build_timeout_s=float(request.get("build_timeout_s") or 120.0),
        call_timeout_s=float(request.get("call_timeout_s") or 60.0),
        unsafe=bool(request.get("unsafe_no_sandbox", False)),
        patience_s=float(request.get("patience_s") or 0.0),
        recorded=_recorded(bench, request.get("recorded") or {}),
    )


def _recorded(bench: Bench, said: Mapping[str, Any]) -> Recorded | None:
    """What is on record, None without one or when that is of another device."""
    from engine.scorer.bench import Recorded

    if said.get("device") != bench.device.label():
        return None
    latencies = {str(name): float(us) for name, us in said.get("latency_us", {}).items() if us}
    return Recorded(latencies, str(said.get("source_hash", "")), float(said.get("patience_s") or 0.0))


def _needed(request: Mapping[str, Any], key: str) -> Any:
    if not request.get(key):
        raise UsageError(f"the request has no {key!r}")
    return request[key]


def main(arguments: Sequence[str]) -> int:
    """`--serve` or one shot; see the module."""
    spooled = arguments[:1] == ["--spool"]
    if not spooled and (unknown := [a for a in arguments if a != "--serve"]):
        print(
            f"engine.scorer: unknown argument {unknown[0]!r}; it takes --serve, --spool DIR or nothing", file=sys.stderr
        )
        return 2
    out = _private_stdout()
    server = Server()
    _leave_on_signals(server)
    if spooled:
        from engine.scorer import spool

        return spool.main(server, list(arguments[1:]))
    if "--serve" in arguments:
        return _serve(server, out)
    return _one_shot(server, out)


def _one_shot(server: Server, out: int) -> int:
    try:
        request = json.load(sys.stdin)
        if not isinstance(request, dict):
            raise UsageError("the request is not a JSON object")
        result = server.answer(request, lambda _: None)
    except json.JSONDecodeError as error:
        print(f"engine.scorer: the request is not JSON: {error}", file=sys.stderr)
        return 2
    except AvoError as error:
        print(f"engine.scorer: {error}", file=sys.stderr)
        return error.exit_code
    _write(out, result)
    return 0 if result.get("correct", result.get("built", True)) else 1


def _serve(server: Server, out: int) -> int:
    inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
    withdrawn: set[str] = set()
    current: list[str] = []
    arguments = (server, inbox, withdrawn, current, os.getppid())
    threading.Thread(target=_read, args=arguments, daemon=True).start()
    while (request := inbox.get()) is not None:
        name = str(request.get("id", ""))
        if name in withdrawn:
            _write(out, {"id": name, "event": "error", "error": "cancelled"})
            continue
        server.children.reset()
        current[:] = [name]
        _write(out, _answered(server, request, name, out))
        current.clear()
    return 0


def _answered(server: Server, request: dict[str, Any], name: str, out: int) -> dict[str, Any]:
    try:
        result = server.answer(request, lambda event: _write(out, {"id": name, **event}))
        return {"id": name, "event": "result", "result": result}
    except Cancelled:
        return {"id": name, "event": "error", "error": "cancelled"}
    except AvoError as error:
        return {"id": name, "event": "error", "error": str(error)}
    except Exception as error:  # our failure must reach the engine as one line, and not end the server
        import traceback

        traceback.print_exc()
        return {"id": name, "event": "error", "error": f"the scorer failed: {type(error).__name__}: {error}"}


def _read(
    server: Server, inbox: queue.Queue[dict[str, Any] | None], withdrawn: set[str], current: list[str], parent: int
) -> None:
    """Pass requests on; act on a cancel at once. When the input ends the requests already read are still answered."""
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
        except json.JSONDecodeError:
            request = {"id": "", "op": "not JSON"}
        if not isinstance(request, dict):
            request = {"id": "", "op": "not an object"}
        if request.get("op") == "cancel":
            withdrawn.add(str(request.get("id", "")))
            if str(request.get("id", "")) in current:
                server.children.cancel()
        else:
            inbox.put(request)
    if os.getppid() != parent:  # whoever asked is gone; nobody waits for the rest
        _leave(server)
    inbox.put(None)


def _leave_on_signals(server: Server) -> None:
    """Leave at once when asked, even while the main thread waits in C for a candidate that hangs."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        os.read(woken, 1)
        _leave(server)

    threading.Thread(target=wait, daemon=True).start()


def _leave(server: Server) -> None:
    server.children.kill_all()
    if group := server.children.sandbox.group:
        group.remove()
    os._exit(143)


def _private_stdout() -> int:
    """Keep standard output for JSON: whatever else prints goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _write(out: int, value: Mapping[str, Any]) -> None:
    data = (json.dumps(value, allow_nan=False) + "\n").encode()
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(out, data) :]
