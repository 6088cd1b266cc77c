"""read, write, edit and find: the workspace's files, and read-only the knowledge pages and the run's logs.

`knowledge/…` and `artifacts/…` name those two; every other path is relative to the workspace and stays inside it.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.data import knowledge_directory
from engine.record.errors import Refused
from engine.session import ToolResult
from engine.tools import confined
from engine.tools.tool import FunctionTool, parameters

if TYPE_CHECKING:
    from engine.session import Session

LINES_SHOWN = 400
WRITE_LIMIT = 1024 * 1024
FIND_TIMEOUT_S = 10.0
FIND_BYTES = 512 * 1024
PATH = {"type": "string", "minLength": 1, "maxLength": 500}


def tools() -> tuple[FunctionTool, ...]:
    """read, write, edit, find."""
    return (
        FunctionTool(
            "read",
            "Read a text file: of the workspace, or `knowledge/PAGE` and `artifacts/LOG` (read-only). Lines come "
            f"numbered, at most {LINES_SHOWN} at a time; start_line and end_line choose which.",
            parameters(
                ("path",),
                path=PATH,
                start_line={"type": "integer", "minimum": 1},
                end_line={"type": "integer", "minimum": 1},
            ),
            _read,
        ),
        FunctionTool(
            "write",
            "Create a file of the workspace, or replace the whole of it. Source files lie at the top of the workspace.",
            parameters(("path", "content"), path=PATH, content={"type": "string", "maxLength": WRITE_LIMIT}),
            _write,
        ),
        FunctionTool(
            "edit",
            "Replace old_string by new_string in a file of the workspace. It must occur exactly once, to the last "
            "space, unless replace_all is true. The answer shows the lines around the change.",
            parameters(
                ("path", "old_string", "new_string"),
                path=PATH,
                old_string={"type": "string", "maxLength": WRITE_LIMIT},
                new_string={"type": "string", "maxLength": WRITE_LIMIT},
                replace_all={"type": "boolean", "default": False},
            ),
            _edit,
        ),
        FunctionTool(
            "find",
            "Look for a regular expression in the workspace's files (mode content), or for files by a name pattern "
            "such as *.cpp (mode files). `path` narrows it to a folder or a file, also under knowledge/ or artifacts/.",
            parameters(
                ("pattern",),
                pattern={"type": "string", "minLength": 1, "maxLength": 1000},
                path={"type": "string", "maxLength": 500, "default": ""},
                glob={"type": "string", "maxLength": 200, "description": "only files whose name matches"},
                mode={"type": "string", "enum": ["content", "files"], "default": "content"},
                ignore_case={"type": "boolean", "default": False},
                max_results={"type": "integer", "minimum": 1, "maximum": 500, "default": 100},
            ),
            _find,
        ),
    )


async def _read(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    name = arguments["path"]
    lines = _text(session, name).splitlines()
    first = arguments.get("start_line", 1)
    last = min(arguments.get("end_line", first + LINES_SHOWN - 1), first + LINES_SHOWN - 1, len(lines))
    if first > max(len(lines), 1):
        raise Refused(f"{name} has {len(lines)} lines; start_line = {first} is past its end")
    shown = "\n".join(f"{n:5d}  {line}" for n, line in enumerate(lines[first - 1 : last], first))
    rest = f"\n({len(lines) - last} more lines; go on with start_line = {last + 1})" if last < len(lines) else ""
    return ToolResult(True, f"{shown}{rest}" if lines else f"{name} is empty", {"lines": len(lines)})


async def _write(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    name, content = _own(arguments["path"]), arguments["content"]
    new = confined.write(session.workspace, name, content.encode("utf-8", "surrogatepass"))
    count = len(content.splitlines())
    return ToolResult(True, f"{'created' if new else 'replaced'} {name} ({count} lines)", {"new": new})


async def _edit(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    name, old, new = _own(arguments["path"]), arguments["old_string"], arguments["new_string"]
    text = _text(session, name)
    count = text.count(old) if old else 0
    if not old or old == new:
        raise Refused("old_string is empty; use `write`" if not old else "old_string and new_string are the same")
    if count == 0:
        raise Refused(f"old_string does not occur in {name}{_near(text, old)}")
    if count > 1 and not arguments.get("replace_all", False):
        raise Refused(f"old_string occurs {count} times in {name}; add lines around it, or say replace_all")
    changed = text.replace(old, new)
    confined.write(session.workspace, name, changed.encode("utf-8", "surrogatepass"))
    where = text[: text.index(old)].count("\n") + 1
    shown = _around(changed, where, new.count("\n") + 1)
    return ToolResult(True, f"{count} change{'s' * (count != 1)} in {name}\n{shown}", {"changes": count})


async def _find(session: Session, arguments: Mapping[str, Any]) -> ToolResult:
    most, pattern = arguments.get("max_results", 100), arguments["pattern"]
    names = _names(session, arguments.get("path", ""))
    if arguments.get("mode", "content") == "files":
        found = [n for n in names if fnmatch.fnmatch(n, pattern) or fnmatch.fnmatch(Path(n).name, pattern)]
    else:
        glob = arguments.get("glob", "*")
        texts = list(_texts(session, [n for n in names if fnmatch.fnmatch(Path(n).name, glob)]))
        found = await _matching(pattern, texts, most, ignore_case=arguments.get("ignore_case", False))
    more = f"\n(more than {most}; narrow the search)" if len(found) > most else ""
    text = "\n".join(found[:most]) + more if found else f"nothing matches {pattern!r}"
    return ToolResult(True, text, {"matches": min(len(found), most)})


async def _matching(pattern: str, texts: list[tuple[str, str]], most: int, *, ignore_case: bool) -> list[str]:
    request = {"pattern": pattern, "texts": texts, "most": most, "ignore_case": ignore_case}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(Path(__file__).with_name("matcher.py"))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        env={},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(json.dumps(request).encode()), FIND_TIMEOUT_S)
    except TimeoutError:
        raise Refused(f"the pattern took more than {FIND_TIMEOUT_S:.0f} s; use a simpler one") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    answer = json.loads(out)
    if "error" in answer:
        raise Refused(answer["error"])
    return list(answer["lines"])


def _root_of(session: Session, name: str) -> tuple[Path, str, str]:
    """The folder that a path is in, the path inside it, and what stands before it."""
    first, _, rest = name.removeprefix("./").partition("/")
    if first == "artifacts":
        return session.folder.artifacts, rest, "artifacts/"
    if first == "knowledge":
        return knowledge_directory(), rest, "knowledge/"
    return session.workspace, name.removeprefix("./").rstrip("/"), ""


def _own(name: str) -> str:
    """A path of the workspace; refuses the two folders that are only for reading."""
    if name.removeprefix("./").partition("/")[0] in {"artifacts", "knowledge"}:
        raise Refused(f"{name} is read-only; write in the workspace")
    return name


def _text(session: Session, name: str) -> str:
    data = _bytes(session, name)
    if b"\0" in data:
        raise Refused(f"{name} is not text ({len(data):,} bytes); look at it with `shell`")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{name} is not UTF-8 text (byte {error.start}); look at it with `shell`") from error


def _bytes(session: Session, name: str, limit: int = confined.READ_LIMIT) -> bytes:
    """A file's content; an old log of the run's, which housekeeping has compressed, as it was."""
    root, inside, _ = _root_of(session, name)
    packed = inside if inside.endswith(".gz") or (root / inside).exists() else f"{inside}.gz"
    if root != session.folder.artifacts or not packed.endswith(".gz") or not (root / packed).is_file():
        return confined.read(root, inside, limit)
    try:
        return zlib.decompressobj(wbits=31).decompress(confined.read(root, packed, limit), limit)
    except zlib.error as error:
        raise Refused(f"{name} is damaged: {error}") from error


def _names(session: Session, path: str) -> list[str]:
    root, inside, prefix = _root_of(session, path) if path else (session.workspace, "", "")
    if inside and not (root / inside).is_dir():
        confined.read(root, inside)
        return [prefix + inside]
    return [prefix + name for name in confined.walk(root, inside)]


def _texts(session: Session, names: list[str]) -> Iterator[tuple[str, str]]:
    """What can be searched: text files that are not huge."""
    for name in names:
        try:
            data = _bytes(session, name, FIND_BYTES)
        except Refused:
            continue
        if b"\0" not in data:
            yield name, data.decode("utf-8", "replace")


def _near(text: str, old: str) -> str:
    """Where the text has the same words with other spaces, when it has."""
    wanted = [" ".join(line.split()) for line in old.strip().splitlines()]
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for at in range(len(lines) - len(wanted) + 1):
        if lines[at : at + len(wanted)] == wanted:
            return f"; line {at + 1} has the same words with other spaces: `read` it first"
    return "; `read` the file first"


def _around(text: str, line: int, count: int) -> str:
    first, last = max(line - 3, 1), min(line + count + 2, line + 30)
    chosen = text.splitlines()[first - 1 : last]
    return "\n".join(f"{n:5d}  {t}" for n, t in enumerate(chosen, first))
