"""HTTP/1.1 on asyncio streams, no more than the Messages API needs: requests with a length, chunked answers."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its method, path without the query, headers in lower case, and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request on a connection, or None when the client has left."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.rstrip().split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, v in (h.split(":", 1) for h in rest)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        return None
    return Request(method, target.split("?")[0], headers, body)


class Answer:
    """The writing side of one exchange."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def whole(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        """A complete answer with its length."""
        self._head(status, {"content-type": kind, "content-length": str(len(body)), **(headers or {})})
        self._writer.write(body)
        await self._writer.drain()

    async def json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        """A complete JSON answer."""
        await self.whole(status, json.dumps(value).encode(), "application/json", headers)

    async def begin_stream(self, headers: dict[str, str]) -> None:
        """The head of a chunked event stream."""
        self._head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers})
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """One chunk; an empty one ends the stream."""
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def event(self, name: str, data: Any) -> None:
        """One server-sent event; a string goes out as it is."""
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        await self.chunk(f"event: {name}\ndata: {text}\n\n".encode())

    async def reset(self) -> None:
        """Break the connection with RST, after what was written has arrived."""
        await asyncio.sleep(0.03)
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection without ending the body."""
        self._writer.close()

    def _head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
