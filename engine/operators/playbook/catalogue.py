"""The catalogue: directions as data beside the problem, read strictly.

`playbook/NN-slug.toml` (or `NN-slug/direction.toml`) holds one direction; long texts lie in files beside it, and what
earlier trials of it measured may stand in its `measured`, for readers. `playbook.toml` may include
another problem's catalogue. A key or value that makes no sense is a ConfigError that names file and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from engine.operators.playbook.conditions import Condition, parse
from engine.operators.playbook.edits import Block, Clear, Edit, File, Replace, Set
from engine.record.errors import ConfigError
from engine.record.frozen import dataclass

KINDS = ("algorithm", "microarchitecture", "parameter", "schedule", "numerics")

_DIRECTION = {"id", "title", "kind", "hypothesis", "expects"}
_DIRECTION_MAY = {"measured", "effort", "knowledge", "keywords", "requires", "boost", "edits", "search"}
_EDITS = {
    "file": ({"op", "file"}, {"text", "from"}),
    "clear": ({"op", "file"}, set[str]()),
    "block": ({"op", "file", "block"}, {"text", "from"}),
    "set": ({"op", "file", "parameter", "value"}, set[str]()),
    "replace": ({"op", "file", "find"}, {"with", "from"}),
}


@dataclass(frozen=True, slots=True)
class Boost:
    """Evidence that changes the order: when it holds, the expected gain is multiplied by `factor`."""

    when: Condition
    factor: float


@dataclass(frozen=True, slots=True)
class Requires:
    """What must hold before a direction makes sense: facts, regular expressions over the sources, earlier trials.

    `after` names directions that must have been tried before, whatever came of them.
    """

    facts: tuple[Condition, ...] = ()
    contains: tuple[re.Pattern[str], ...] = ()
    lacks: tuple[re.Pattern[str], ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Direction:
    """One thing to try. `expects` is the ratio to the incumbent it hopes for, `effort` how much it rewrites.

    `measured` is what its author found elsewhere, told with the hypothesis.
    """

    id: str
    title: str
    kind: str
    hypothesis: str
    expects: float
    effort: float = 1.0
    knowledge: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    requires: Requires = field(default_factory=Requires)
    boosts: tuple[Boost, ...] = ()
    edits: tuple[Edit, ...] = ()
    search: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measured: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every direction, in the order of the files, and the parameters that the search may vary."""

    directions: tuple[Direction, ...]
    search: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, direction: str) -> Direction | None:
        """The direction with this id, or None."""
        return next((d for d in self.directions if d.id == direction), None)


def load(folder: Path) -> Catalogue:
    """Read a playbook folder, its includes first. Raises ConfigError for anything it cannot use."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no playbook here; the playbook operator needs one beside the problem")
    directions, search = _folder(folder, ())
    seen: dict[str, str] = {}
    for direction in directions:
        if direction.id in seen:
            raise ConfigError(f"{direction.origin}: id {direction.id!r} is taken by {seen[direction.id]}")
        seen[direction.id] = direction.origin
    for direction in directions:
        if missing := [name for name in direction.requires.after if name not in seen]:
            raise ConfigError(f"{direction.origin}: requires: after: there is no direction {missing[0]!r}")
    if not directions:
        raise ConfigError(f"{folder}: the playbook holds no direction (NN-slug.toml or NN-slug/direction.toml)")
    return Catalogue(tuple(directions), search)


def _folder(folder: Path, above: tuple[Path, ...]) -> tuple[list[Direction], dict[str, tuple[str, ...]]]:
    if folder.resolve() in above:
        raise ConfigError(f"{folder / 'playbook.toml'}: include leads back to itself")
    book = _book(folder)
    directions: list[Direction] = []
    search: dict[str, tuple[str, ...]] = {}
    for name in book["include"]:
        if not (folder / name).is_dir():
            raise ConfigError(f"{folder / 'playbook.toml'}: include: {name!r} is not a folder")
        more, ranges = _folder(folder / name, (*above, folder.resolve()))
        directions += [d for d in more if d.id not in book["omit"]]
        search |= ranges
    paths = sorted((*folder.glob("[0-9]*.toml"), *folder.glob("[0-9]*/direction.toml")), key=str)
    own = [direction_of(path) for path in paths]
    for direction in own:
        search |= direction.search
    return directions + own, search | book["search"]


def _book(folder: Path) -> dict[str, Any]:
    path = folder / "playbook.toml"
    if not path.is_file():
        return {"include": (), "omit": (), "search": {}}
    data = _read(path)
    _keys(data, set(), {"include", "omit", "search"}, str(path))
    return {
        "include": _words(data, "include", str(path)),
        "omit": _words(data, "omit", str(path)),
        "search": _ranges(data.get("search", {}), f"{path}: search"),
    }


def direction_of(path: Path) -> Direction:
    """Read one direction's file."""
    data, where = _read(path), str(path)
    _keys(data, _DIRECTION, _DIRECTION_MAY, where)
    kind = _text(data, "kind", where)
    if kind not in KINDS:
        raise ConfigError(f"{where}: kind = {kind!r} is not one of {', '.join(KINDS)}")
    direction = Direction(
        id=_text(data, "id", where),
        title=_text(data, "title", where),
        kind=kind,
        hypothesis=" ".join(_text(data, "hypothesis", where).split()),
        expects=_positive(data, "expects", where),
        effort=_positive(data, "effort", where) if "effort" in data else 1.0,
        knowledge=_words(data, "knowledge", where),
        keywords=tuple(w.lower() for w in _words(data, "keywords", where)),
        requires=_requires(_table(data, "requires", where), f"{where}: requires"),
        boosts=tuple(_boost(b, f"{where}: boost {i}") for i, b in enumerate(_tables(data, "boost", where), 1)),
        edits=tuple(_edit(e, path, f"{where}: edits {i}") for i, e in enumerate(_tables(data, "edits", where), 1)),
        search=_ranges(_table(data, "search", where), f"{where}: search"),
        measured=" ".join(_text(data, "measured", where).split()) if "measured" in data else "",
        origin=where,
    )
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", direction.id):
        raise ConfigError(f"{where}: id = {direction.id!r} is not lower-case letters, digits and '-'")
    if not direction.edits:
        raise ConfigError(f"{where}: edits is missing; a direction that changes nothing cannot be tried")
    return direction


def _requires(data: Mapping[str, Any], where: str) -> Requires:
    _keys(data, set(), {"facts", "contains", "lacks", "after"}, where)
    return Requires(
        tuple(_condition(text, f"{where}: facts") for text in _words(data, "facts", where)),
        tuple(_pattern(text, f"{where}: contains") for text in _words(data, "contains", where)),
        tuple(_pattern(text, f"{where}: lacks") for text in _words(data, "lacks", where)),
        _words(data, "after", where),
    )


def _boost(data: Mapping[str, Any], where: str) -> Boost:
    _keys(data, {"when", "factor"}, set(), where)
    return Boost(_condition(_text(data, "when", where), f"{where}: when"), _positive(data, "factor", where))


def _edit(data: Mapping[str, Any], path: Path, where: str) -> Edit:
    op = data.get("op")
    if op not in _EDITS:
        raise ConfigError(f"{where}: op = {op!r} is not one of {', '.join(_EDITS)}")
    must, may = _EDITS[op]
    _keys(data, must, may, where)
    file = _text(data, "file", where)
    if "/" in file or file.startswith("."):
        raise ConfigError(f"{where}: file = {file!r}: candidates are flat folders, name a file without a path")
    if op == "clear":
        return Clear(file)
    if op == "set":
        return Set(file, _text(data, "parameter", where), _literal(data["value"], f"{where}: value"))
    text = _content(data, path, where)
    if op == "file":
        return File(file, text)
    return Block(file, _text(data, "block", where), text) if op == "block" else Replace(file, data["find"], text)


def _content(data: Mapping[str, Any], path: Path, where: str) -> str:
    given = [key for key in ("text", "with", "from") if key in data]
    if len(given) != 1:
        raise ConfigError(f"{where}: needs its text, or 'from' with the name of a file beside {path.name}")
    value = _text(data, given[0], where, empty=True)
    if given[0] != "from":
        return value
    source = (path.parent / value).resolve()
    if not source.is_relative_to(path.parent.resolve()):
        raise ConfigError(f"{where}: from = {value!r} leaves the playbook's folder")
    try:
        return source.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: from = {value!r} cannot be read: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _keys(data: Mapping[str, Any], must: set[str], may: set[str], where: str) -> None:
    if unknown := sorted(set(data) - must - may):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(must | may))}")
    if missing := sorted(must - set(data)):
        raise ConfigError(f"{where}: {missing[0]!r} is missing")


def _text(data: Mapping[str, Any], key: str, where: str, *, empty: bool = False) -> str:
    value = data[key]
    if not isinstance(value, str) or not (empty or value.strip()):
        raise ConfigError(f"{where}: {key} = {value!r} is not a text")
    return value


def _positive(data: Mapping[str, Any], key: str, where: str) -> float:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise ConfigError(f"{where}: {key} = {value!r} is not a number between 0 and 1000")
    return float(value)


def _words(data: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise ConfigError(f"{where}: {key} = {value!r} is not a list of texts")
    return tuple(value)


def _table(data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} must be a table")
    return value


def _tables(data: Mapping[str, Any], key: str, where: str) -> Sequence[Mapping[str, Any]]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise ConfigError(f"{where}: {key} must be a list of tables ([[{key}]])")
    return value


def _condition(text: str, where: str) -> Condition:
    condition = parse(text)
    if condition is None:
        raise ConfigError(f'{where}: {text!r} is not a condition such as "machine.cores >= 2"')
    return condition


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ConfigError(f"{where}: {text!r} is not a regular expression: {error}") from error


def _ranges(data: Any, where: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must be a table of lists")
    ranges: dict[str, tuple[str, ...]] = {}
    for name, values in data.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{where}: {name} = {values!r} is not a list of values")
        ranges[name] = tuple(_literal(v, f"{where}: {name}") for v in values)
    return ranges


def _literal(value: Any, where: str) -> str:
    """A TOML value as C++ writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | str):
        return str(value)
    raise ConfigError(f"{where}: {value!r} is not a number, a boolean or a text")
