"""Scoring from the command line: one request to a scorer process, its progress as it comes, its result.

The scorer is a process of its own in its own session; whatever happens here, it and everything it
started is stopped before this module returns.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from engine.private import without_secrets
from engine.record.errors import ScorerError

OnEvent = Callable[[Mapping[str, Any]], None]
STOP_S = 3.0


def ask(operation: str, fields: Mapping[str, Any], on_event: OnEvent | None = None) -> Mapping[str, Any]:
    """Send one request and return its result; raises ScorerError with the scorer's own line when it failed."""
    with tempfile.TemporaryFile() as errors:
        process = _spawn(errors)
        try:
            return _answer(process, {"id": "cli", "op": operation, **fields}, on_event, errors)
        finally:
            stop(process)


def _spawn(errors: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.scorer", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=without_secrets(os.environ),
        start_new_session=True,
    )


def _answer(
    process: subprocess.Popen[bytes], request: Mapping[str, Any], on_event: OnEvent | None, errors: IO[bytes]
) -> Mapping[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
    for line in process.stdout:
        message = _message(line)
        if message.get("event") == "result":
            result: Mapping[str, Any] = message["result"]
            return result
        if message.get("event") == "error":
            raise ScorerError(str(message.get("error") or "the scorer failed and did not say why"))
        if on_event is not None:
            on_event(message)
    code = process.wait()
    raise ScorerError(
        f"the scorer ended with code {code} before it answered: {_last_line(errors) or 'it said nothing'}"
    )


def _message(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        raise ScorerError(f"the scorer wrote a line that is no JSON: {line[:120]!r}") from None
    if not isinstance(value, dict):
        raise ScorerError(f"the scorer wrote a line that is no object: {line[:120]!r}")
    return value


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read()[-16_384:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the scorer and everything it started: kindly first, then for certain."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
