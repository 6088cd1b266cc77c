"""A problem: one folder with problem.toml, reference.py, the ABI header and a seed. Read strictly, without torch.

The one rule: whatever problem.toml says is either understood exactly or refused by name. An unknown key or an
impossible value is a ConfigError that names the file and the place, never a default.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from engine.record.errors import ConfigError
from engine.record.frozen import dataclass

Suite = Literal["quick", "full"]
LANGUAGES = {"cpp": "cpu", "cuda": "cuda"}
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
MAX_ELEMENTS = 2**30


@dataclass(frozen=True, slots=True)
class Configuration:
    """One shape and mask: q, o [batch, seqlen, heads_q, head_dim]; k, v [batch, seqlen, heads_kv, head_dim]."""

    name: str
    batch: int
    seqlen: int
    heads_q: int
    heads_kv: int
    head_dim: int
    causal: bool
    quick: bool = False
    holdout: bool = False

    @property
    def flops(self) -> float:
        """Work of one call: 4·batch·heads·seqlen²·head_dim, halved when causal (DESIGN section 6)."""
        return 4.0 * self.batch * self.heads_q * self.seqlen**2 * self.head_dim / (2.0 if self.causal else 1.0)

    @property
    def unmasked_flops(self) -> float:
        """The work that no correct kernel can avoid: only the (query, key) pairs that the mask leaves."""
        pairs = self.seqlen * (self.seqlen + 1) / 2 if self.causal else self.seqlen**2
        return 4.0 * self.batch * self.heads_q * pairs * self.head_dim

    @property
    def scale(self) -> float:
        """The softmax scale of the timed calls, 1/sqrt(head_dim)."""
        return 1.0 / math.sqrt(self.head_dim)

    @property
    def query_elements(self) -> int:
        """Elements of q, and of o."""
        return self.batch * self.seqlen * self.heads_q * self.head_dim

    @property
    def key_elements(self) -> int:
        """Elements of k, and of v."""
        return self.batch * self.seqlen * self.heads_kv * self.head_dim


@dataclass(frozen=True, slots=True)
class Build:
    """Compiler flags that every candidate gets, and those it may add in its flags.txt."""

    flags: tuple[str, ...]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is to be computed, in which configurations, how exactly, and how it is built."""

    name: str
    title: str
    language: str
    device: str
    dtype: str
    tolerance: float
    build: Build
    configurations: tuple[Configuration, ...]
    holdouts: tuple[Configuration, ...]
    folder: Path

    def suite(self, name: Suite) -> tuple[Configuration, ...]:
        """The configurations of a suite: all of them, or those marked quick."""
        return self.configurations if name == "full" else tuple(c for c in self.configurations if c.quick)

    def select(self, names: Sequence[str]) -> tuple[Configuration, ...]:
        """The configurations with these names, in the problem's order. Raises ConfigError for an unknown name."""
        known = {c.name for c in self.configurations}
        if unknown := [n for n in names if n not in known]:
            names_known = ", ".join(c.name for c in self.configurations)
            raise ConfigError(f"{self.folder.name}: no configuration {unknown[0]!r}; it has {names_known}")
        return tuple(c for c in self.configurations if c.name in set(names))

    @property
    def seed(self) -> Path:
        """The folder of version 0."""
        return self.folder / "seed"

    @property
    def header(self) -> Path:
        """The ABI header that candidates may include."""
        return self.folder / "avo_abi.h"

    @property
    def reference(self) -> Path:
        """The float64 reference and the baselines, a Python module that the judge loads."""
        return self.folder / "reference.py"


def load(path: Path | str) -> Problem:
    """Read a problem folder (or its problem.toml). Raises ConfigError, one line, for anything that cannot be used."""
    folder = Path(path)
    if folder.name == "problem.toml":
        folder = folder.parent
    file = folder / "problem.toml"
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; a problem is a folder with a problem.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: {error}") from error
    problem = _problem(data, folder.resolve(), str(file))
    for needed in (problem.reference, problem.seed):
        if not needed.exists():
            raise ConfigError(f"{file}: {needed.name} is missing beside it")
    return problem


def _problem(data: Mapping[str, Any], folder: Path, where: str) -> Problem:
    keys = {"name", "title", "language", "dtype", "tolerance", "build", "shape", "configuration", "holdout"}
    _known(data, keys, where)
    name = _text(data, "name", where)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise ConfigError(f"{where}: name = {name!r} must be lower-case letters, digits, - and _")
    language = _choice(data, "language", LANGUAGES, where)
    tolerance = data.get("tolerance")
    if not isinstance(tolerance, float) or not 0.0 < tolerance < 0.1:
        raise ConfigError(f"{where}: tolerance = {tolerance!r} is not a fraction in (0, 0.1), such as 1e-4")
    configurations = _shapes(data, "configuration", where)
    if not configurations:
        raise ConfigError(f"{where}: it has no [[configuration]]; a problem needs at least one")
    if not any(c.quick for c in configurations):
        raise ConfigError(f"{where}: no [[configuration]] is marked quick = true; the quick suite would be empty")
    return Problem(
        name=name,
        title=_text(data, "title", where),
        language=language,
        device=LANGUAGES[language],
        dtype=_choice(data, "dtype", DTYPES, where),
        tolerance=tolerance,
        build=_build(data.get("build"), f"{where}: [build]"),
        configurations=configurations,
        holdouts=_shapes(data, "holdout", where, holdout=True),
        folder=folder,
    )


def _build(data: object, where: str) -> Build:
    if not isinstance(data, dict):
        raise ConfigError(f"{where} is missing; it holds flags = [...] and allowed = [...]")
    _known(data, {"flags", "allowed"}, where)
    return Build(_flags(data, "flags", where), _flags(data, "allowed", where))


def _flags(data: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = data.get(key, [])
    if not isinstance(value, list) or not all(isinstance(f, str) and re.fullmatch(r"-[^\s]+", f) for f in value):
        raise ConfigError(f"{where} {key} must be a list of compiler flags, each beginning with '-'")
    return tuple(value)


def _shapes(data: Mapping[str, Any], key: str, where: str, *, holdout: bool = False) -> tuple[Configuration, ...]:
    tables = data.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ConfigError(f"{where}: write each {key} as [[{key}]]")
    common = data.get("shape", {})
    if not isinstance(common, dict):
        raise ConfigError(f"{where}: [shape] must be a table")
    shapes = tuple(_shape({**common, **t}, f"{where}: [[{key}]] {i + 1}", holdout) for i, t in enumerate(tables))
    names = [s.name for s in shapes]
    if twice := [n for n in names if names.count(n) > 1]:
        raise ConfigError(f"{where}: two [[{key}]] are named {twice[0]!r}")
    return shapes


def _shape(data: Mapping[str, Any], where: str, holdout: bool) -> Configuration:
    counts = ("batch", "seqlen", "heads_q", "heads_kv", "head_dim")
    _known(data, {"name", "causal", *counts, *(() if holdout else ("quick",))}, where)
    name = _text(data, "name", where)
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise ConfigError(f"{where}: name = {name!r} must be letters, digits and _ . -")
    sizes = {key: _count(data, key, where) for key in counts}
    if sizes["heads_q"] % sizes["heads_kv"]:
        raise ConfigError(f"{where}: heads_q = {sizes['heads_q']} is not a multiple of heads_kv = {sizes['heads_kv']}")
    if "causal" not in data:
        raise ConfigError(f"{where}: causal is missing; write causal = true or false")
    causal, quick = _flag(data, "causal", where), _flag(data, "quick", where)
    shape = Configuration(name=name, **sizes, causal=causal, quick=quick, holdout=holdout)
    if shape.query_elements > MAX_ELEMENTS:
        raise ConfigError(f"{where}: {shape.query_elements} elements of q are more than the scorer handles")
    return shape


def _known(data: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(data) - keys):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(keys))}")


def _text(data: Mapping[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: {key} is missing or empty" if not value else f"{where}: {key} must be a text")
    return value


def _choice(data: Mapping[str, Any], key: str, allowed: Mapping[str, object], where: str) -> str:
    value = _text(data, key, where)
    if value not in allowed:
        raise ConfigError(f"{where}: {key} = {value!r} is not one of {', '.join(allowed)}")
    return value


def _count(data: Mapping[str, Any], key: str, where: str) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 2**20:
        raise ConfigError(f"{where}: {key} = {value!r} is not a whole number from 1 to {2**20}")
    return value


def _flag(data: Mapping[str, Any], key: str, where: str) -> bool:
    value = data.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key} = {value!r} is not true or false")
    return value
