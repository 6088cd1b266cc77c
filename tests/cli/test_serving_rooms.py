"""`avo serve`: a real server, real requests, real websockets. Without its token there is nothing to see."""

import asyncio
import json
import re
import signal

import pytest
from tiny import until

from engine.record.reader import Reader

aiohttp = pytest.importorskip("aiohttp", reason="the extra avo-tui[serve] is not installed")
pytest.importorskip("textual_serve", reason="the extra avo-tui[serve] is not installed")
pytestmark = pytest.mark.timeout(90)


class Served:
    """A serving `avo`, its address and its token."""

    def __init__(self, shell, *words):
        self.process = shell.popen("serve", *words, "--port", "0", start_new_session=True)
        self.said = self.process.stdout.readline() or self.process.communicate()[1]
        self.base, self.token = re.search(r"(http://\S+?)/([\w-]{20,})/$", self.said.strip()).groups()
        assert "ctrl-C" in self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.out, self.err = self.process.communicate(timeout=30)
        except Exception:
            self.process.kill()
            raise

    def at(self, path, token=None):
        return f"{self.base}/{self.token if token is None else token}{path}"


async def status_of(session, url):
    async with session.get(url, allow_redirects=False) as response:
        return response.status


async def refused(session, url):
    try:
        async with session.ws_connect(url):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status


async def test_without_the_token_every_request_is_refused(past):
    with Served(past, "climb") as served:
        async with aiohttp.ClientSession() as session:
            paths = ("/", "/ws", "/static/js/textual.js", "/download/x", "/static/", "/nothing", "//", "/%2e%2e/")
            for path in paths:
                assert await status_of(session, served.base + path) == 403, path
                assert await status_of(session, served.at(path, "x" * 32)) == 403, path
            assert await refused(session, f"{served.base}/ws") == 403
            assert await refused(session, served.at("/ws", served.token[:-1])) == 403
            assert await status_of(session, f"{served.base}/?token={served.token}") == 403
    assert served.process.returncode == 0
    assert served.err == ""


async def test_with_the_token_the_page_and_all_it_needs_are_there(past):
    with Served(past, "climb") as served:
        assert "read-only" in served.said
        assert served.base.startswith("http://127.0.0.1:")
        async with aiohttp.ClientSession() as session:
            assert await status_of(session, f"{served.base}/{served.token}") == 302
            async with session.get(served.at("/")) as response:
                page, headers = await response.text(), response.headers
            assert response.status == 200
            assert "climb" in page
            assert headers["Referrer-Policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            own = re.findall(r'(?:src|href)="(/[^"]+)"', page)
            assert len(own) >= 2
            assert "googleapis" not in page
            for path in own:
                assert path.startswith(f"/{served.token}/static/")
                assert await status_of(session, served.base + path) == 200
            websocket = re.search(r'websocket-url="([^"]+)"', page)[1]
            assert websocket == served.at("/ws").replace("http:", "ws:")
            elsewhere = {"Host": "localhost:9000"}  # through a tunnel
            async with session.get(served.at("/"), headers=elsewhere) as response:
                assert f"ws://localhost:9000/{served.token}/ws" in await response.text()


async def watch(session, served, wanted, keys=()):
    """Open a room, send keys once it is there, and return when its picture holds the wanted words."""
    async with session.ws_connect(f"{served.at('/ws')}?width=100&height=30") as room:
        shown, sent = b"", False
        async for message in room:
            if message.type == aiohttp.WSMsgType.BINARY:
                shown += message.data
            if not sent and keys and b"Scores" in shown:
                sent = True
                await asyncio.sleep(0.5)
                for key in keys:
                    await room.send_str(json.dumps(["stdin", key]))
            if all(word in shown for word in wanted):
                return shown
    raise AssertionError(shown[-3000:])


async def test_the_room_comes_through_the_websocket(past):
    with Served(past, "climb") as served:
        async with aiohttp.ClientSession() as session:
            shown = await asyncio.wait_for(watch(session, served, (b"climb", b"Scores", b"READ-ONLY")), 30)
    assert b"Scores" in shown


def commands_of(folder):
    with Reader(folder.journal) as reader:
        return [c.verb for c in reader.commands()]


async def test_a_browser_only_looks_unless_it_may_steer(avo, living):
    with Served(avo, "alive") as served:
        async with aiohttp.ClientSession() as session:
            await asyncio.wait_for(watch(session, served, (b"read-only: capital",), keys=("P",)), 40)
    assert commands_of(living) == []
    with Served(avo, "alive", "--control") as served:
        assert "to watch and steer" in served.said
        async with aiohttp.ClientSession() as session:
            await asyncio.wait_for(watch(session, served, (b"PAUSED",), keys=("P",)), 40)
    until(lambda: commands_of(living) == ["pause"])


def test_serving_to_other_machines_is_warned_of(past):
    with Served(past, "climb", "--host", "0.0.0.0") as served:
        pass
    assert len(served.err.splitlines()) == 1
    assert "reached from other machines, unencrypted" in served.err


def test_what_cannot_be_served_is_refused(past, avo, tmp_path):
    past("serve", "ghost").refused(2, "no run 'ghost'")
    past("serve", "climb", "--port", "99999").refused(2, "cannot listen on port 99999")
    with Served(past, "climb") as served:
        port = served.base.rpartition(":")[2]
        past("serve", "climb", "--port", port).refused(2, "Address already in use", "--port")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['textual_serve'] = None\n")
    env = {"PYTHONPATH": f"{tmp_path}:{past.env['PYTHONPATH']}"}
    past("serve", "climb", env=env).refused(2, "pip install 'avo-tui[serve]'")
