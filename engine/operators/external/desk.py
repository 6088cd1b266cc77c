"""The desk: a socket in the run's folder where an outside agent leaves its calls, and where the answers are fetched.

One rule: no request is held longer than `hold_s`, because clients give up after a minute or never; a call that
takes longer is answered with its name, and `wait` fetches the rest. A call that was taken is run once,
whether its client is still there or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOCKET = "agent.sock"
LINE_LIMIT = 8 * 1024 * 1024
HOLD_S = 45.0
KEPT = 100


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to."""

    ok: bool
    text: str


@dataclass(slots=True)
class Order:
    """A call on its way: its name, and the outcome when there is one."""

    name: str
    tool: str
    arguments: Mapping[str, Any]
    outcome: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Desk:
    """Takes calls from a socket into a queue. `about` is what a client is told when it asks what there is."""

    def __init__(
        self, folder: Path, about: Mapping[str, Any], doing: Callable[[], str], hold_s: float = HOLD_S
    ) -> None:
        self.orders: asyncio.Queue[Order] = asyncio.Queue()
        self.clients = 0
        self._folder, self._about, self._doing, self._hold_s = folder, about, doing, hold_s
        self._known: dict[str, Order] = {}
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._count = 0

    async def open(self) -> None:
        """Listen; only the run's owner can connect."""
        with _short(self._folder) as path:
            path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, str(path), limit=LINE_LIMIT)
            path.chmod(0o600)

    async def wait(self, seconds: float) -> None:
        """Wait until a call arrives, at most so long. Being cancelled here loses no call."""
        self._arrived.clear()
        if self.orders.empty():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), seconds)

    async def close(self) -> None:
        """Stop listening and let waiting clients know."""
        for order in self._known.values():
            if not order.outcome.done():
                order.outcome.set_result(Outcome(False, "the engine ended before this call was done"))
        if self._server is not None:
            self._server.close()
            self._server = None
        with contextlib.suppress(FileNotFoundError):
            (self._folder / SOCKET).unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            pass  # the client left, or sent a line without an end
        finally:
            self.clients -= 1
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            op = asked["op"]
            if op == "about":
                return dict(self._about)
            order = self._take(asked) if op == "call" else self._find(str(asked.get("call") or ""))
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "text": f"the request is malformed: {error}"}
        if order is None:
            return {"ok": False, "text": "no such call; `wait` without an argument fetches the newest one"}
        return await self._outcome(order)

    def _take(self, asked: Mapping[str, Any]) -> Order:
        arguments = asked.get("arguments") or {}
        if not isinstance(arguments, dict):
            raise TypeError("arguments must be an object")
        self._count += 1
        order = Order(f"c{self._count}", str(asked["tool"]), arguments)
        self._known[order.name] = order
        for name in list(self._known)[:-KEPT]:
            if self._known[name].outcome.done():
                del self._known[name]
        self.orders.put_nowait(order)
        self._arrived.set()
        return order

    def _find(self, name: str) -> Order | None:
        return self._known.get(name) if name else next(reversed(self._known.values()), None)

    async def _outcome(self, order: Order) -> dict[str, Any]:
        await asyncio.wait({order.outcome}, timeout=self._hold_s)
        if order.outcome.done():
            outcome = order.outcome.result()
            return {"ok": outcome.ok, "text": outcome.text}
        text = f"{order.tool} is still at work ({self._doing()}); call `wait` with call={order.name!r} for its result"
        return {"ok": True, "text": text, "running": order.name}


@contextlib.contextmanager
def _short(folder: Path) -> Any:
    """The socket's path through an open folder: sockets' paths are limited to 108 bytes, folders' are not."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}/{SOCKET}")
    finally:
        os.close(descriptor)


async def ask(folder: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """One request to a run's desk. Raises ConnectionError with a sentence when no engine listens."""
    try:
        with _short(folder) as path:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_LIMIT)
    except OSError as error:
        raise ConnectionError(f"no engine listens in {folder}: {error.strerror}; 'avo resume {folder.name}'") from error
    try:
        writer.write(json.dumps(request).encode() + b"\n")
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionError("the engine ended; its record is safe, 'avo resume' goes on")
    answer: dict[str, Any] = json.loads(line)
    return answer
