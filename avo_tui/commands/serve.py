"""`avo serve`: the control room in a browser. Only this machine reaches it and it only looks, unless asked."""

from __future__ import annotations

import ipaddress
import secrets
import sys
from argparse import Namespace
from importlib.util import find_spec

from avo_tui.commands.named import run_of
from avo_tui.summary import Summaries
from engine.record.errors import UsageError

INSTALL = "the room in a browser needs textual-serve: pip install 'avo-tui[serve]'"


def serve(arguments: Namespace) -> int:
    """Serve a run until ctrl-C. The address holds a token; without it there is nothing to see."""
    folder = run_of(arguments)
    Summaries(folder).close()
    if find_spec("textual_serve") is None:
        raise UsageError(INSTALL)
    from avo_tui.web import RoomServer
    from avo_tui.web import serve as serve_room

    if not _is_loopback(arguments.host):
        may = "sees and steers" if arguments.control else "sees"
        reached = f"{arguments.host} is reached from other machines, unencrypted"
        print(f"avo: {reached}: whoever has the address {may} this run", file=sys.stderr)
    server = RoomServer(folder, secrets.token_urlsafe(24), control=arguments.control)

    def announce(address: str) -> None:
        what = "to watch and steer" if arguments.control else "read-only"
        print(f"run {folder.name}, {what}: {address}\nctrl-C ends the serving; the run goes on", flush=True)

    serve_room(server, arguments.host, arguments.port, announce)
    return 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
