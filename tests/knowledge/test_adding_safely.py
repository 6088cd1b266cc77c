"""What adding must not do: lose pages of another source, or half of what it replaces; and PDFs, page by page."""

from __future__ import annotations

import http.server
import os
import re
import threading
from pathlib import Path

import pytest

from engine import knowledge_add
from engine.knowledge import Knowledge
from engine.knowledge_add import add, remove
from engine.record.errors import Refused


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / f"{name}.txt").write_text(text)
    return path


def pdf(path: Path, *pages: str) -> Path:
    """A PDF of plain text, written by hand: one line of Helvetica on each page."""
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(pages)))
    bodies = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    for n, text in enumerate(pages):
        stream = f"BT /F 12 Tf 72 700 Td ({text}) Tj ET"
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {font} /Contents {4 + 2 * n} 0 R >>"
        bodies += [page, f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream"]
    data, places = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(bodies) + 1
    data += f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer << /Size {size} /Root 1 0 R >>\n".encode()
    path.write_bytes(data + f"startxref\n{data.index(b'xref')}\n%%EOF\n".encode())
    return path


def test_folders_and_files_of_the_same_name_from_elsewhere_stand_side_by_side(
    tmp_path: Path, store: Path, base: Knowledge
) -> None:
    first, second = folder(tmp_path / "a/docs", x="tiles"), folder(tmp_path / "b/docs", x="barriers")
    assert add(first, store).pages == ("docs/x.txt",)
    assert add(second, store).pages == ("docs-2/x.txt",)
    assert add(first / "x.txt", store).pages == ("x.txt",)
    assert add(second / "x.txt", store).pages == ("x.txt-2",)
    assert {h.page for h in base.search("tiles")} == {"docs/x.txt", "x.txt"}
    assert add(second, store).pages == ("docs-2/x.txt",) and len(base.pages()) == 4


def test_what_is_added_again_replaces_all_of_it_or_nothing(tmp_path: Path, store: Path, base: Knowledge) -> None:
    source = folder(tmp_path / "guide", old="rescale", kept="fence")
    add(source, store)
    (source / "old.txt").unlink()
    add(source, store)
    assert [p.id for p in base.pages()] == ["guide/kept.txt"]
    (source / "kept.txt").write_bytes(b"\0")
    with pytest.raises(Refused, match="holds no text that can be a page"):
        add(source, store)
    assert [p.id for p in base.pages()] == ["guide/kept.txt"] and base.search("fence")


def test_files_whose_names_become_the_same_are_all_kept(tmp_path: Path, store: Path, base: Knowledge) -> None:
    source = folder(tmp_path / "odd")
    for name, text in (("a b.txt", "one"), ("a-b.txt", "two"), ("a+b.txt", "three")):
        (source / name).write_text(text)
    assert len(add(source, store).pages) == 3
    assert all(base.search(word) for word in ("one", "two", "three"))


def test_a_folder_that_was_added_is_removed_as_one(tmp_path: Path, store: Path, base: Knowledge) -> None:
    add(folder(tmp_path / "guide", a="x", b="y"), store)
    remove("guide", store)
    assert base.pages() == []
    for bad in ("", ".", "..", "/etc", "guide"):
        with pytest.raises(Refused, match="no page"):
            remove(bad, store)
    assert store.is_dir()


@pytest.mark.parametrize("program", [True, False])
def test_a_pdf_is_found_with_its_page(
    program: bool, tmp_path: Path, store: Path, base: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not program:
        pytest.importorskip("pypdf", reason="the extra 'pdf' is not installed")
        monkeypatch.setenv("PATH", str(tmp_path))
    elif knowledge_add.shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    path = pdf(tmp_path / "ptx.pdf", "The first page", "# wgmma waits for the group")
    assert add(path, store).pages == ("ptx.pdf",)
    hit = base.search("wgmma group")[0]
    assert (hit.page, hit.section) == ("ptx.pdf", "Page 2")
    assert "waits for the group" in base.read("ptx.pdf", "Page 2").text


def test_a_broken_pdf_is_refused_with_the_reason(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "bad.pdf"
    path.write_bytes(b"%PDF-1.4\n" + b"\xff" * 500)
    with pytest.raises(Refused, match="PDF"):
        add(path, store)
    assert not list(store.rglob("*.md"))


def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path: Path, store: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "zero.md").symlink_to("/dev/zero")
    for name in ("pipe.md", "zero.md"):
        with pytest.raises(Refused, match=re.escape(f"{name} is not a plain file")):
            add(tmp_path / name, store)


def test_a_web_page_is_read_in_the_encoding_that_its_server_names(store: Path, base: Knowledge) -> None:
    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=iso-8859-1")
            self.end_headers()
            self.wfile.write("Größe der Kacheln".encode("latin1"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        add(f"http://127.0.0.1:{server.server_port}/tiles", store)
        server.shutdown()
    assert "Größe der Kacheln" in base.read(base.pages()[0].id).text
