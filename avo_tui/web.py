"""The room in a browser: textual-serve's server behind a secret address.

One rule: every path begins with the token, the websocket's too; whoever does not know it is told nothing (403).
"""

from __future__ import annotations

import hmac
import re
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable

from aiohttp import web
from textual_serve.server import Server

from engine.record.errors import UsageError
from engine.record.run import RunFolder

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Nothing is fetched from elsewhere, and no other site is told the address or may frame the page.
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "script-src 'self' 'unsafe-inline'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self' data:",
            "connect-src 'self' ws: wss:",
            "frame-ancestors 'none'",
        )
    ),
}
CLOSING_S = 3.0


class RoomServer(Server):
    """Serves one run. Each browser tab gets a room of its own, in a process of its own."""

    def __init__(self, folder: RunFolder, token: str, *, control: bool) -> None:
        words = [sys.executable, "-P", "-m", "avo_tui.browser", str(folder.path), *(["--control"] if control else [])]
        super().__init__(shlex.join(words), title=folder.name, public_url="http://here")
        self.token = token

    async def on_startup(self, app: web.Application) -> None:
        """Say nothing: the command has said where it serves."""

    async def application(self, ready: Callable[[], None]) -> web.Application:
        """The whole application: textual-serve's own below the token, 403 everywhere else."""

        async def started(_: web.Application) -> None:
            ready()

        outer = web.Application(middlewares=[self._guard])
        outer.on_startup.append(started)
        outer.add_subapp(f"/{self.token}/", await self._make_app())
        return outer

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.path.lstrip("/").partition("/")[0]
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="this address is not complete: 'avo serve' printed the whole one\n")
        if request.path == f"/{self.token}":
            raise web.HTTPFound(f"/{self.token}/")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    async def handle_index(self, request: web.Request) -> web.StreamResponse:
        """The page, with addresses as this browser sees them: it may come through a tunnel with another port."""
        page: web.Response = await super().handle_index(request)  # type: ignore[assignment]
        if not re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", request.host):
            raise web.HTTPBadRequest(text="a host's name cannot be that\n")
        text = re.sub(r'<link[^>]*href="https?://(?!here/)[^>]*>', "", page.text or "")  # a font from elsewhere
        page.text = text.replace("ws://here/", f"ws://{request.host}/").replace("http://here/", "/")
        return page


def serve(server: RoomServer, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve until ctrl-C or SIGTERM; `announce` is given the address once it can be opened."""
    with _bound(host, port) as listening:
        at, taken = listening.getsockname()[:2]
        address = f"http://{f'[{at}]' if ':' in at else at}:{taken}/{server.token}/"
        # The socket listens already, and signals are caught by the time that the application starts.
        made = server.application(lambda: announce(address))
        web.run_app(made, sock=listening, print=None, access_log=None, shutdown_timeout=CLOSING_S)


def _bound(host: str, port: int) -> socket.socket:
    if port > 65_535:
        raise UsageError(f"cannot listen on port {port}: ports end at 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or --host"
        ) from error
    return made
