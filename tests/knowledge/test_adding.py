"""Adding to the knowledge base: real files, folders, web servers and git repositories; bad ones get a reason."""

from __future__ import annotations

import http.server
import subprocess
import threading
from pathlib import Path

import pytest

from engine.knowledge import Knowledge
from engine.knowledge_add import add, remove
from engine.record.errors import Refused

HTML = """<html><head><title>Warp &amp; group</title><style>p {}</style><script>var x = "hidden";</script></head>
<body><nav>menu</nav><h1>Title</h1><h2>Fences</h2><p>A  wgmma
fence &lt;orders&gt; accesses.</p><pre>wgmma.fence.sync;
  next;</pre></body></html>"""


def test_a_file_becomes_a_page_with_its_source_and_date(tmp_path: Path, store: Path, base: Knowledge):
    path = tmp_path / "notes on tiles.txt"
    path.write_text("Tiles of 64 keys stay in the second-level cache.\n")
    assert add(path, store).pages == ("notes-on-tiles.txt",)
    [page] = base.pages()
    assert (page.title, page.source, page.place) == ("notes on tiles.txt", str(path), "person")
    assert len(page.date) == 10
    assert base.search("second-level cache")[0].page == page.id


def test_adding_again_replaces(tmp_path: Path, store: Path, base: Knowledge):
    path = tmp_path / "a.txt"
    for word in ("first", "second"):
        path.write_text(f"the {word} text")
        add(path, store)
    assert len(base.pages()) == 1
    assert base.search("second") and not base.search("first")


def test_a_page_with_front_matter_is_kept_as_it_is(tmp_path: Path, store: Path, base: Knowledge):
    path = tmp_path / "lesson.md"
    path.write_text('+++\nid = "lesson-1"\ntitle = "A lesson"\nlesson = true\n+++\n## What\nUnrolling did not pay.\n')
    assert add(path, store).pages == ("lesson-1",)
    assert base.pages()[0].lesson


def test_a_folder_becomes_pages_and_names_what_it_leaves_out(tmp_path: Path, store: Path, base: Knowledge):
    root = tmp_path / "flash"
    (root / "src").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".git" / "config.txt").write_text("hidden")
    (root / "README.md").write_text("# Flash\n\nFast attention.\n")
    (root / "src" / "kernel.cu").write_text("// rescale only when the maximum moves\n")
    (root / "src" / "latin.txt").write_bytes("größer".encode("latin1"))
    (root / "src" / "table.json").write_bytes(b"{\0}")
    (root / "image.png").write_bytes(b"\x89PNG")
    (root / "link.txt").symlink_to("/etc/passwd")
    added = add(root, store)
    assert sorted(added.pages) == ["flash/README", "flash/src/kernel.cu"]
    assert sorted(reason.split(" is ")[1] for reason in added.skipped) == [
        "binary, not text",
        "not UTF-8 text (byte 2); convert it first",
    ]
    assert base.search("rescale maximum")[0].source == f"{root}/src/kernel.cu"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\x7fELF\0", "is binary, not text"),
        ("a.txt", b"\xff\xfe", "is not UTF-8 text"),
        ("a.txt", b"", "holds no text"),
        ("a.txt", b"x" * (8 * 1024 * 1024 + 1), "the limit is 8,388,608"),
        ("a.md", b"+++\nbad = \n+++\n", "is not TOML"),
        ("a.pdf", b"not a pdf", "PDF"),
    ],
)
def test_a_file_that_cannot_be_a_page_is_refused_with_the_reason(
    tmp_path: Path, store: Path, name: str, content: bytes, reason: str
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Refused, match=reason):
        add(path, store)
    assert not list(store.rglob("*")) or all(p.is_dir() for p in store.rglob("*"))


@pytest.mark.parametrize("source", ["/no/such/file", "ftp://host/file", "http://127.0.0.1:1/none"])
def test_what_cannot_be_reached_is_refused_with_the_reason(store: Path, source: str):
    with pytest.raises(Refused, match=r"does not exist|can be added|cannot be fetched"):
        add(source, store)


def test_a_folder_without_text_is_refused(tmp_path: Path, store: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no text that can be a page"):
        add(tmp_path / "empty", store)


def test_a_web_page_is_read_as_a_person_sees_it(store: Path, base: Knowledge):
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(HTML.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/guide/fences"
        added = add(url, store)
        server.shutdown()
    [page] = base.pages()
    assert added.pages == (page.id,)
    assert (page.title, page.source) == ("Warp & group", url)
    text = base.read(page.id, "Fences").text
    assert "A wgmma fence <orders> accesses." in text
    assert "wgmma.fence.sync;\n  next;" in text
    assert "hidden" not in text and "menu" not in base.read(page.id).text


def test_a_git_repository_is_cloned_read_and_thrown_away(tmp_path: Path, store: Path, base: Knowledge):
    origin = tmp_path / "guide.git"
    origin.mkdir()
    (origin / "ptx.md").write_text("# PTX\n\n## mbarrier\nWait on the phase bit.\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@t")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "x")):
        subprocess.run(["git", "-C", str(origin), *arguments], check=True)
    url = origin.as_uri()
    assert add(url, store).pages == ("guide/ptx",)
    assert base.search("phase bit")[0].source == f"{url}/ptx.md"
    assert add(f"{url}/.git", store).pages == ("guide.git/ptx",)


def test_a_repository_that_is_not_there_is_refused(tmp_path: Path, store: Path):
    with pytest.raises(Refused, match="cannot be cloned"):
        add((tmp_path / "none.git").as_uri(), store)


def test_a_persons_page_can_be_removed_and_nothing_else(tmp_path: Path, store: Path, base: Knowledge):
    (tmp_path / "a.txt").write_text("words")
    [page] = add(tmp_path / "a.txt", store).pages
    with pytest.raises(Refused, match="shipped pages cannot be removed"):
        remove("../a.txt", store)
    remove(page, store)
    assert base.pages() == []
