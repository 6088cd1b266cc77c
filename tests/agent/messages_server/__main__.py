"""A server to try a run against:  PYTHONPATH=tests/agent python -m messages_server --port 8123

avo run mha_cpu --operator agent --base-url http://127.0.0.1:8123 --headless --versions 3
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading

from messages_server.improver import Improver
from messages_server.server import MessagesServer


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="messages_server", description="A loopback Messages server that improves mha_cpu."
    )
    parser.add_argument("--port", type=int, default=8123)
    port = parser.parse_args().port
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with MessagesServer(Improver(), port=port) as server:
        print(f"serving on {server.url}; stop with Ctrl+C", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            stopped.wait()
        print(f"{len(server.seen)} requests, {len(server.rejected)} refused, prefix reuse {server.reuse():.4f}")


if __name__ == "__main__":
    main()
