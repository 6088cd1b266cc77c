"""Adding to the person's knowledge base: files, folders, web pages, PDFs and git repositories become pages.

What is added is copied as text with its source and date, so that it can be found after the original is gone.
A file that cannot be a page is named with its reason; the others of its folder go in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from engine.knowledge import personal_directory
from engine.knowledge_pages import FILE_LIMIT, read_page, read_text
from engine.record.errors import Refused

TEXT = frozenset(
    {".md", ".markdown", ".txt", ".rst", ".tex", ".py", ".pyi", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp"}
    | {".cu", ".cuh", ".ptx", ".sass", ".s", ".inc", ".toml", ".json", ".yaml", ".yml", ".cmake", ".sh"}
)
WEB, PDF = frozenset({".html", ".htm"}), frozenset({".pdf"})
MOST_FILES = 3000
FETCH_TIMEOUT_S = 60.0
CLONE_TIMEOUT_S = 600.0
_GIT_HOSTS = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org")


@dataclass(frozen=True, slots=True)
class Added:
    """What became of one `add`: ids of new or replaced pages, and files left out with the reason."""

    pages: tuple[str, ...]
    skipped: tuple[str, ...]


def add(source: str | Path, directory: Path | None = None) -> Added:
    """Add a file, a folder or a URL to the person's knowledge base (or `directory`).

    Adding the same again replaces its pages. Raises Refused when nothing of it can be a page.
    """
    store = directory or personal_directory()
    text = str(source)
    if re.match(r"[a-z+]+://|git@", text):
        return _url(text, store)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, store, path.resolve().name, str(path.resolve()))
    if not path.exists():
        raise Refused(f"{path} does not exist")
    return Added((_file(path, store, _slug(path.name), str(path.resolve())),), ())


def remove(page: str, directory: Path | None = None) -> None:
    """Take a page out of the person's knowledge base."""
    store = directory or personal_directory()
    path = store / f"{page}.md"
    if ".." in Path(page).parts or not path.is_file():
        raise Refused(f"no page {page!r} among your own ({store}); shipped pages cannot be removed")
    path.unlink()


def _url(url: str, store: Path) -> Added:
    if _is_repository(url):
        return _repository(url, store)
    if not url.startswith(("http://", "https://")):
        raise Refused(f"{url}: only http, https and git addresses can be added")
    with tempfile.TemporaryDirectory() as place:
        path = _fetched(url, Path(place))
        return Added((_file(path, store, _slug(url.partition("://")[2]), url),), ())


def _is_repository(url: str) -> bool:
    host, _, path = url.partition("://")[2].partition("/")
    plain = len([p for p in path.split("/") if p]) == 2
    return url.endswith(".git") or url.startswith(("git@", "git://", "ssh://")) or (host in _GIT_HOSTS and plain)


def _fetched(url: str, place: Path) -> Path:
    request = urllib.request.Request(url, headers={"User-Agent": "avo"})  # noqa: S310 http and https only, see _url
    try:
        with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
            data = answer.read(FILE_LIMIT + 1)
            kind = answer.headers.get_content_type()
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Refused(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error
    endings = {"text/html": ".html", "application/pdf": ".pdf"}
    path = place / f"page{endings.get(kind, '.txt')}"
    path.write_bytes(data)
    return path


def _repository(url: str, store: Path) -> Added:
    """A shallow clone, read and thrown away. No hook and no submodule of it runs."""
    from engine.lineage import import_git

    git = import_git()
    name = _slug(url.rstrip("/").removesuffix(".git").rpartition("/")[2])
    with tempfile.TemporaryDirectory() as place:
        options = {"depth": 1, "single_branch": True, "no_tags": True, "config": "core.hooksPath=/dev/null"}
        environment = {"GIT_TERMINAL_PROMPT": "0", "GIT_TEMPLATE_DIR": "", "GIT_LFS_SKIP_SMUDGE": "1"}
        try:
            git.Repo.clone_from(
                url, place, env=environment, kill_after_timeout=CLONE_TIMEOUT_S, allow_unsafe_options=True, **options
            ).close()
        except (git.GitError, OSError) as error:
            words = " ".join(str(getattr(error, "stderr", "") or error).split())
            raise Refused(f"{url} cannot be cloned: {words[-300:]}") from error
        return _folder(Path(place), store, name, url)


def _folder(folder: Path, store: Path, name: str, source: str) -> Added:
    pages, skipped = [], []
    shutil.rmtree(store / _slug(name), ignore_errors=True)
    for path in _candidates(folder):
        inside = path.relative_to(folder)
        page = "/".join((_slug(name), *(_slug(p) for p in inside.parts)))
        try:
            pages.append(_file(path, store, page, f"{source.rstrip('/')}/{inside}"))
        except Refused as reason:
            skipped.append(str(reason))
        if len(pages) >= MOST_FILES:
            skipped.append(f"{folder} has more than {MOST_FILES:,} pages; the rest is left out")
            break
    if not pages:
        why = f": {skipped[0]}" if skipped else ""
        raise Refused(f"{source} holds no text that can be a page{why}")
    return Added(tuple(pages), tuple(skipped))


def _candidates(folder: Path) -> Iterator[Path]:
    """Plain files of the known kinds, sorted; hidden ones and links left out."""
    for place, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            known = path.suffix.lower() in TEXT | WEB | PDF
            if known and not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _file(path: Path, store: Path, page: str, source: str) -> str:
    """Write one page; returns its id."""
    ending = path.suffix.lower()
    text = _page_text(path, ending)
    if not text.strip():
        raise Refused(f"{path} holds no text")
    target = store / f"{page}.md"
    if ending == ".md" and text.startswith("+++"):
        read_page(path, path.parent, "person")
    else:
        text = _front(_title(text, path, source), source) + text
    _put(target, text)
    return read_page(target, store, "person").id


def _page_text(path: Path, ending: str) -> str:
    if ending in PDF:
        return _pdf(path)
    text = read_text(path)
    return _html(text) if ending in WEB else text


def _front(title: str, source: str) -> str:
    facts: Mapping[str, str] = {"title": title, "source": source, "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    return "+++\n" + "".join(f"{k} = {json.dumps(v, ensure_ascii=False)}\n" for k, v in facts.items()) + "+++\n"


def _title(text: str, path: Path, source: str) -> str:
    if match := re.match(r"\s*# +(.+)", text):
        return match[1].strip()[:200]
    return source.rstrip("/").rpartition("/")[2] or path.name


def _put(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}")
        temporary.write_text(text, "utf-8")
        temporary.replace(target)
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror}") from error


def _slug(text: str) -> str:
    """A file name from any text: its ending folded in, nothing but letters, digits, dots, dashes."""
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
    return (words.removesuffix(".md") or "page")[:100]


def _pdf(path: Path) -> str:
    if path.stat().st_size > 8 * FILE_LIMIT:
        raise Refused(f"{path} has {path.stat().st_size:,} bytes, the limit for a PDF is {8 * FILE_LIMIT:,}")
    program = shutil.which("pdftotext")
    if program is None:
        raise Refused(f"{path} is a PDF; install pdftotext to add it (Debian and Ubuntu: apt install poppler-utils)")
    command = [program, "-enc", "UTF-8", "--", str(path.resolve()), "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Refused(f"{path}: pdftotext took more than two minutes") from None
    if done.returncode:
        raise Refused(f"{path} is no PDF that can be read: {done.stderr.decode('utf-8', 'replace').strip()[:200]}")
    return done.stdout.decode("utf-8", "replace").replace("\f", "\n")


def _html(text: str) -> str:
    parser = _Text()
    parser.feed(text)
    parser.close()
    body = re.sub(r"\n{3,}", "\n\n", "".join(parser.parts)).strip()
    return f"# {parser.title.strip()}\n\n{body}" if parser.title.strip() else body


class _Text(HTMLParser):
    """What a reader sees of a web page: headings as markdown, code kept, scripts and styles left out."""

    _HIDDEN = frozenset({"script", "style", "noscript", "svg", "nav", "template"})
    _BLOCKS = frozenset({"p", "div", "br", "li", "tr", "pre", "ul", "ol", "table", "section", "article"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.title = ""
        self._hidden = 0
        self._pre = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, a heading or something hidden."""
        self._hidden += tag in self._HIDDEN
        self._in_title = tag == "title"
        if re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n\n" + "#" * max(2, int(tag[1])) + " ")
        elif tag == "pre":
            self._pre += 1
            self.parts.append("\n```\n")
        elif tag in self._BLOCKS:
            self.parts.append("\n- " if tag == "li" else "\n")

    def handle_endtag(self, tag: str) -> None:
        """End it."""
        self._hidden = max(0, self._hidden - (tag in self._HIDDEN))
        self._in_title = False
        if tag == "pre" and self._pre:
            self._pre -= 1
            self.parts.append("\n```\n")
        elif tag in self._BLOCKS or re.fullmatch(r"h[1-6]", tag):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        """Text, its spaces folded outside code."""
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self.parts.append(data if self._pre else re.sub(r"\s+", " ", data))
