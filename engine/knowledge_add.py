"""Adding to the person's knowledge base: files, folders, web pages, PDFs and git repositories become pages.

What is added is copied as text with its source and date, so that it can be found after the original is gone.
A file that cannot be a page is named with its reason; the others of its folder go in.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from engine.knowledge import personal_directory
from engine.knowledge_pages import FILE_LIMIT, read_page, read_text
from engine.lessons import forget
from engine.private import hidden, without_secrets
from engine.record.errors import Refused
from engine.record.frozen import dataclass
from engine.scorer import tree

TEXT = frozenset(
    {".md", ".markdown", ".txt", ".rst", ".tex", ".py", ".pyi", ".c", ".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp"}
    | {".cu", ".cuh", ".ptx", ".sass", ".s", ".inc", ".toml", ".json", ".yaml", ".yml", ".cmake", ".sh"}
)
WEB, PDF = frozenset({".html", ".htm"}), frozenset({".pdf"})
MOST_FILES = 3000
FETCH_TIMEOUT_S = 60.0
CLONE_TIMEOUT_S = 600.0
_SOURCE = ".source"
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
    return _one(path, store, _slug(path.name), str(path.resolve()))


def remove(page: str, directory: Path | None = None) -> None:
    """Take a page, or a folder of pages that was added as one, out of the person's knowledge base."""
    store = directory or personal_directory()
    inside = bool(page.strip("/. ")) and not Path(page).is_absolute() and ".." not in Path(page).parts
    path, folder = store / f"{page}.md", store / page
    if inside and path.is_file():
        if page.startswith("lesson-"):
            forget(path)
        path.unlink()
    elif inside and folder.is_dir():
        shutil.rmtree(folder)
    else:
        raise Refused(f"no page {page!r} among your own ({store}); shipped pages cannot be removed")


def _url(url: str, store: Path) -> Added:
    if _is_repository(url):
        return _repository(url, store)
    if not url.startswith(("http://", "https://")):
        raise Refused(f"{url}: only http, https and git addresses can be added")
    with tempfile.TemporaryDirectory() as place:
        path = _fetched(url, Path(place))
        return _one(path, store, _slug(url.partition("://")[2]), url)


def _is_repository(url: str) -> bool:
    host, _, path = url.partition("://")[2].partition("/")
    plain = len([p for p in path.split("/") if p]) == 2
    return url.endswith(".git") or url.startswith(("git@", "git://", "ssh://")) or (host in _GIT_HOSTS and plain)


def _fetched(url: str, place: Path) -> Path:
    request = urllib.request.Request(url, headers={"User-Agent": "avo"})  # noqa: S310 http and https only, see _url
    try:
        with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_S) as answer:  # noqa: S310
            data = answer.read(FILE_LIMIT + 1)
            kind, charset = answer.headers.get_content_type(), answer.headers.get_content_charset()
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Refused(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error
    endings = {"text/html": ".html", "application/pdf": ".pdf"}
    ending = endings.get(kind, ".txt")
    path = place / f"page{ending}"
    path.write_bytes(data if ending in PDF else _as_utf8(data, charset))
    return path


def _as_utf8(data: bytes, charset: str | None) -> bytes:
    """A text in the encoding that its server names; left as it is when that is none, or does not fit."""
    try:
        return data.decode(charset).encode() if charset else data
    except (LookupError, UnicodeError):
        return data


def _repository(url: str, store: Path) -> Added:
    """A shallow clone, read and thrown away. No hook and no submodule of it runs."""
    from engine.lineage import import_git

    git = import_git()
    name = _slug(url.rstrip("/").removesuffix(".git").rstrip("/").rpartition("/")[2])
    with tempfile.TemporaryDirectory() as place:
        options = {"depth": 1, "single_branch": True, "no_tags": True, "config": "core.hooksPath=/dev/null"}
        environment = {
            **hidden(os.environ),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_TEMPLATE_DIR": "",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        try:
            git.Repo.clone_from(
                url, place, env=environment, kill_after_timeout=CLONE_TIMEOUT_S, allow_unsafe_options=True, **options
            ).close()
        except (git.GitError, OSError) as error:
            words = " ".join(str(getattr(error, "stderr", "") or error).split())
            raise Refused(f"{url} cannot be cloned: {words[-300:]}") from error
        return _folder(Path(place), store, name, url)


def _one(path: Path, store: Path, page: str, source: str) -> Added:
    """One file as one page. A page of the same name from elsewhere is left alone: this one gets a number."""
    if not path.is_file():  # a pipe would be waited for, a device read without end
        raise Refused(f"{path} is not a plain file")
    if not _has_facts(path):
        page = next(name for name in _numbered(page) if _source_of(store / f"{name}.md") in (None, source))
    return Added((_file(path, store, page, source),), ())


def _folder(folder: Path, store: Path, name: str, source: str) -> Added:
    """A folder's texts as pages under one name. They replace those of the last time only when all are written."""
    home = next(n for n in _numbered(_slug(name)) if _source_of(store / n / _SOURCE) in (None, source))
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".adding-") as place:
        fresh = Path(place) / home
        pages, skipped = _pages_of(folder, Path(place), home, source)
        if not pages:
            why = f": {skipped[0]}" if skipped else ""
            raise Refused(f"{source} holds no text that can be a page{why}")
        (fresh / _SOURCE).write_text(source, "utf-8")
        shutil.rmtree(store / home, ignore_errors=True)
        fresh.rename(store / home)
    return Added(tuple(pages), tuple(skipped))


def _pages_of(folder: Path, target: Path, home: str, source: str) -> tuple[list[str], list[str]]:
    """(ids of pages written below `home`, files left out with the reason)."""
    pages: list[str] = []
    skipped: list[str] = []
    for path in _candidates(folder):
        inside = path.relative_to(folder)
        wanted = "/".join((home, *(_slug(part) for part in inside.parts)))
        page = next(n for n in _numbered(wanted) if not (target / f"{n}.md").exists())
        try:
            pages.append(_file(path, target, page, f"{source.rstrip('/')}/{inside}"))
        except Refused as reason:
            skipped.append(str(reason))
        if len(pages) >= MOST_FILES:
            skipped.append(f"{folder} has more than {MOST_FILES:,} pages; the rest is left out")
            break
    return pages, skipped


def _numbered(name: str) -> Iterator[str]:
    """The name, then name-2, name-3 and so on."""
    yield name
    yield from (f"{name}-{n}" for n in itertools.count(2))


def _source_of(path: Path) -> str | None:
    """Where a page, or a folder's list of pages, came from; None when there is none yet."""
    if not path.exists():
        return None
    if path.name == _SOURCE:
        return path.read_text("utf-8")
    try:
        page = read_page(path, path.parent, "person")
    except Refused:
        return None
    return page.source


def _candidates(folder: Path) -> Iterator[Path]:
    """Plain files of the known kinds, sorted; hidden ones and links left out."""
    for place, folders, names in tree.walk(folder):
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
    if len(text.encode()) > FILE_LIMIT - 10_000:
        raise Refused(f"{path} holds {len(text.encode()):,} bytes of text, the limit is {FILE_LIMIT:,}")
    if _has_facts(path):
        read_page(path, path.parent, "person")
    else:
        text = _front(_title(text, path, source), source) + text
    _put(target, text)
    return read_page(target, store, "person").id


def _has_facts(path: Path) -> bool:
    """Whether a file is a page already, with front matter of its own."""
    if path.suffix.lower() != ".md":
        return False
    with path.open("rb") as file:
        return file.read(3) == b"+++"


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
    """A PDF's text, each page a section, so that a hit names the page."""
    if path.stat().st_size > 8 * FILE_LIMIT:
        raise Refused(f"{path} has {path.stat().st_size:,} bytes, the limit for a PDF is {8 * FILE_LIMIT:,}")
    pages = enumerate(_pdf_pages(path), 1)
    return "\n\n".join(f"## Page {n}\n{_no_headings(text)}" for n, text in pages if text.strip())


def _no_headings(text: str) -> str:
    """A text whose lines cannot be taken for a page's own headings or code fences."""
    return re.sub(r"^(\s*)(#|```)", r"\1\\\2", text, flags=re.MULTILINE)


def _pdf_pages(path: Path) -> list[str]:
    if program := shutil.which("pdftotext"):
        return _by_pdftotext(program, path)
    try:
        import pypdf
    except ImportError:
        how = "pip install 'avo-tui[pdf]', or pdftotext (Debian and Ubuntu: apt install poppler-utils)"
        raise Refused(f"{path} is a PDF; to add it install {how}") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it says of a broken file is said below, in one line
    try:
        return [page.extract_text() for page in pypdf.PdfReader(path).pages]
    except Exception as error:  # a broken file can raise anything in there
        raise Refused(f"{path} is no PDF that can be read: {type(error).__name__}: {str(error)[:200]}") from error


def _by_pdftotext(program: str, path: Path) -> list[str]:
    command = [program, "-enc", "UTF-8", "--", str(path.resolve()), "-"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=120, stdin=subprocess.DEVNULL,
                              env=without_secrets(os.environ))  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Refused(f"{path}: pdftotext took more than two minutes") from None
    if done.returncode:
        raise Refused(f"{path} is no PDF that can be read: {done.stderr.decode('utf-8', 'replace').strip()[:200]}")
    return done.stdout.decode("utf-8", "replace").split("\f")


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
