"""The server: one thread with its own event loop, answering as the policy says and breaking as the faults say.

Every request is checked by `rules` before anything else; what was refused, sent and billed is kept in `seen`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from messages_server import reply as replies
from messages_server.cache import PromptCache
from messages_server.faults import Fault
from messages_server.http import Answer, Request, read_request
from messages_server.reply import Reply
from messages_server.rules import check
from messages_server.segments import Segment, chain, segments_of, signature
from messages_server.shapes import Rejected, parse

Policy = Callable[[dict[str, Any]], Reply | Fault]
BILLED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


@dataclass(slots=True)
class Seen:
    """One request as the server saw it. `shared` of `before` bytes are the unchanged prefix of the request before."""

    number: int
    path: str
    headers: dict[str, str]
    model: str = ""
    messages: int = 0
    rejected: str = ""
    fault: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    before: int = 0
    shared: int = 0
    finished: bool = False


class MessagesServer:
    """A Messages API on 127.0.0.1. `faults` are played before the policy is asked, one for each request.

    `policy` is a callable over the request body, or the replies to give in order.
    """

    def __init__(
        self,
        policy: Policy | Iterable[Reply | Fault],
        *,
        faults: Iterable[Fault | None] = (),
        window_tokens: int = 200_000,
        longest_reply: int = 64_000,
        key: str = "",
        models: tuple[str, ...] = (),
        keep: int = 50,
        port: int = 0,
    ) -> None:
        self._policy: Policy = policy if callable(policy) else _Scripted(policy)
        self.faults = deque(faults)
        self.window_tokens, self.longest_reply = window_tokens, longest_reply
        self.key, self.models, self._port = key, models, port
        self.seen: list[Seen] = []
        self.bodies: deque[dict[str, Any]] = deque(maxlen=keep)
        self.billed = dict.fromkeys(BILLED, 0)
        self.counted = 0
        self._cache = PromptCache()
        self._previous: list[Segment] = []
        self._pending: Reply | None = None
        self._paused: list[list[dict[str, Any]]] = []
        self._issued: dict[str, list[str]] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="messages-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def url(self) -> str:
        """What `base_url` must be."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def rejected(self) -> list[str]:
        """Why requests were refused."""
        return [s.rejected for s in self.seen if s.rejected]

    def reuse(self) -> float:
        """The share of the preceding requests' bytes that came again unchanged, within epochs."""
        pairs = [s for s in self.seen if s.before and not s.rejected]
        return sum(s.shared for s in pairs) / max(1, sum(s.before for s in pairs))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._connection(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None and not writer.is_closing():
                await self._answer(request, Answer(writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, request: Request, answer: Answer) -> None:
        seen = Seen(len(self.seen) + 1, request.path, request.headers)
        if request.path == "/v1/messages":
            self.seen.append(seen)
        try:
            self._authorized(request)
            wanted = "GET" if request.path.startswith("/v1/models/") else "POST"
            if request.method != wanted:
                raise Rejected("Method Not Allowed", 405)
            if request.path.startswith("/v1/models/"):
                await self._model(request.path.rsplit("/", 1)[1], answer)
            elif request.path == "/v1/messages/count_tokens":
                self.counted += 1
                body = parse(request.body, request.headers)
                segments = self._checked(body, counting=True)
                await answer.json(200, {"input_tokens": sum(s.tokens for s in segments)})
            elif request.path == "/v1/messages":
                await self._message(request, seen, answer)
            else:
                raise Rejected(f"{request.path} not found", 404, "not_found_error")
        except Rejected as refusal:
            seen.rejected = str(refusal)
            fault = Fault("status", refusal.status, refusal.type, str(refusal))
            await answer.json(refusal.status, fault.body("req_refused"), {"request-id": "req_refused"})

    def _authorized(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
        if not given or (self.key and given != self.key):
            raise Rejected("invalid x-api-key", 401, "authentication_error")
        if "anthropic-version" not in request.headers:
            raise Rejected("anthropic-version: header is required")

    async def _model(self, name: str, answer: Answer) -> None:
        self._known(name)
        about = {"id": name, "type": "model", "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        await answer.json(200, {**about, "max_input_tokens": self.window_tokens, "max_tokens": self.longest_reply})

    def _known(self, name: str) -> None:
        if self.models and name not in self.models:
            raise Rejected(f"model: {name}", 404, "not_found_error")

    async def _message(self, request: Request, seen: Seen, answer: Answer) -> None:
        body = parse(request.body, request.headers)
        segments = self._checked(body)
        self._known(body["model"])
        self.bodies.append(body)
        seen.model, seen.messages = body["model"], len(body["messages"])
        self._compare(segments, seen)
        fault = self.faults.popleft() if self.faults else None
        if fault is None or fault.in_stream:
            asked = self._pending or self._policy(body)
            if isinstance(asked, Fault):
                fault = asked
            else:
                self._pending = asked if fault else None
        if fault is not None and not fault.in_stream:
            seen.fault = f"{fault.kind} {fault.status}"
            await self._play(fault, seen, answer)
            return
        seen.fault = fault.kind if fault else ""
        base = self._pending or asked if fault is None or fault.in_stream else Reply()
        assert isinstance(base, Reply)
        await self._stream(body, segments, base, fault, seen, answer)

    def _checked(self, body: Any, *, counting: bool = False) -> list[Segment]:
        return check(
            body,
            window_tokens=self.window_tokens,
            longest_reply=self.longest_reply,
            paused=self._paused,
            issued=self._issued,
            counting=counting,
        )

    def _compare(self, segments: list[Segment], seen: Seen) -> None:
        seen.bytes = sum(len(s.text) for s in segments)
        shared = 0
        for old, new in zip(self._previous, segments, strict=False):
            if old.text != new.text:
                break
            shared += len(old.text)
        first = _first_message(self._previous)
        if self._previous and first == _first_message(segments):
            seen.before, seen.shared = sum(len(s.text) for s in self._previous), shared
        self._previous = segments

    async def _play(self, fault: Fault, seen: Seen, answer: Answer) -> None:
        request_id = f"req_{seen.number:06d}"
        if fault.kind == "status":
            await answer.json(fault.status, fault.body(request_id), {"request-id": request_id, **fault.headers})
        elif fault.kind == "html":
            await answer.whole(fault.status, b"<html><h1>Bad Gateway</h1></html>", "text/html")
        elif fault.kind == "slow":
            await self._stop.wait()
        elif fault.kind == "empty":
            await answer.begin_stream({"request-id": request_id})
            await answer.chunk(b"")
        else:
            await answer.close()

    async def _stream(
        self,
        body: dict[str, Any],
        segments: list[Segment],
        base: Reply,
        fault: Fault | None,
        seen: Seen,
        answer: Answer,
    ) -> None:
        reply = _signed(base, segments)
        usage = self._cache.usage(segments, automatic="cache_control" in body)
        sent = list(replies.events(reply, body["model"], usage, seen.number))
        last = len(sent) - 1
        breaks = None if fault is None else min(last, last if fault.after is None else fault.after)
        await answer.begin_stream({"request-id": f"req_{seen.number:06d}"})
        for index, (name, data) in enumerate(sent):
            if fault is not None and index == breaks:
                await self._break(fault, answer)
                return
            self._bill(name, data, seen)
            await answer.event(name, data)
        await answer.chunk(b"")
        seen.finished = True
        signatures = [b["signature"] for b in reply.content if b["type"] == "thinking"]
        self._issued.update((b["id"], signatures) for b in reply.content if b["type"] == "tool_use")
        if reply.reason() == "pause_turn":
            self._paused = [*self._paused[-9:], reply.content]

    def _bill(self, name: str, data: dict[str, Any], seen: Seen) -> None:
        """Input is billed when a reply begins, output when it ends; a broken reply costs one output token."""
        if name == "message_start":
            seen.usage = dict(data["message"]["usage"])
            for kind in BILLED:
                self.billed[kind] += seen.usage[kind]
        elif name == "message_delta":
            self.billed["output_tokens"] += data["usage"]["output_tokens"] - seen.usage["output_tokens"]
            seen.usage["output_tokens"] = data["usage"]["output_tokens"]

    async def _break(self, fault: Fault, answer: Answer) -> None:
        if fault.kind == "reset":
            await answer.reset()
        elif fault.kind == "cut":
            await answer.close()
        elif fault.kind == "eof":
            await answer.chunk(b"")
        elif fault.kind == "stall":
            await self._stop.wait()
        elif fault.kind == "pings":
            while not self._stop.is_set():
                await answer.event("ping", {"type": "ping"})
                await asyncio.sleep(0.05)
        elif fault.kind == "error_event":
            kind = fault.type or "overloaded_error"
            await answer.event("error", {"type": "error", "error": {"type": kind, "message": fault.message}})
            await answer.chunk(b"")
        elif fault.kind == "odd_event":
            await answer.event("content_block_delta", fault.message)
            await answer.chunk(b"")
        else:
            await answer.event("content_block_delta", '{"type": "content_block_delta", "ind')
            await answer.chunk(b"")


class _Scripted:
    """Gives replies in order; when they run out, says that there is nothing left to do."""

    def __init__(self, script: Iterable[Reply | Fault]) -> None:
        self._script = iter(script)

    def __call__(self, body: dict[str, Any]) -> Reply | Fault:
        return next(self._script, Reply([replies.say("Nothing is left to do.")]))


def _signed(base: Reply, segments: list[Segment]) -> Reply:
    """The reply with every thinking block signed over all that precedes it."""
    last, content = chain(segments)[-1], []
    for block in base.content:
        signed = {**block, "signature": signature(last, block["thinking"])} if block["type"] == "thinking" else block
        wrapped = {"model": "", "messages": [{"role": "assistant", "content": [signed]}]}
        last = chain(segments_of(wrapped)[1:], last)[-1]
        content.append(signed)
    return Reply(content, base.stop_reason, base.stop_details, base.raw)


def _first_message(segments: list[Segment]) -> bytes:
    return next((s.text for s in segments if s.text.startswith(b"user:")), b"")
