"""The run's configuration: one TOML file to one frozen RunConfig. Unknown keys fail.

Nothing here reads the environment; the command line fills in what it finds there. Annotations are no strings here:
`from_table` needs them as types, and would have to compile each of them first.
"""

import json
import tomllib
from dataclasses import asdict, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

from engine.record.errors import ConfigError
from engine.record.frozen import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """When the run ends by itself. None is no limit."""

    versions: int | None = None
    minutes: float | None = None
    usd: float | None = None
    tokens: int | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class ScorerConfig:
    """How candidates are scored. An empty `command` is this machine.

    `devices` are scored on side by side: what CUDA_VISIBLE_DEVICES takes, or processors ("0-3") for a CPU problem.
    `ray` is the address of a Ray cluster ("auto": the one of this machine), whose nodes score.
    `patience_s`: how long a version's figures are measured anew when they do not agree.
    """

    command: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    ray: str = ""
    spool: str = ""
    threads: int | None = None
    unsafe_no_sandbox: bool = False
    build_timeout_s: float = 120.0
    call_timeout_s: float = 60.0
    patience_s: float = 10.0


@dataclass(frozen=True, slots=True)
class GateConfig:
    """The gate's rule (engine/gate.py says what each figure does). Fractions: 0.0025 is a quarter percent."""

    confidence: float = 0.995
    match_margin: float = 0.0025
    min_rounds: int = 2
    max_rounds: int = 24
    max_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """The supervisor's thresholds. A stall counts candidates, repeats and failures count attempts.

    Conduct counts tool calls: `calls` the same one with the same answer, `errors` of the last twenty; and turns:
    `idle` without an edit or a measurement, `talk` without a tool; `epochs` conversations without a candidate.
    After a step the supervisor waits for `cooldown` attempts or `cooldown_turns` turns, whichever comes first.
    """

    stall_nudge: int = 8
    stall_review: int = 16
    stall_restore: int = 32
    stall_pause: int = 64
    stall_minutes: float = 120.0
    repeats_nudge: int = 2
    repeats_review: int = 4
    failures_nudge: int = 5
    failures_review: int = 10
    calls_nudge: int = 3
    calls_review: int = 5
    errors_review: int = 15
    idle_nudge: int = 20
    idle_review: int = 40
    talk_review: int = 3
    epochs_review: int = 2
    cooldown: int = 4
    cooldown_turns: int = 15
    silent_s: float = 60.0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The model that serves the agent and its supervisor.

    `thinking` and `effort` go out as they are, "" leaves them to the model's default; `fallback` is the
    model of a new epoch when `name` refuses twice in a row, "" for none.
    """

    name: str = "claude-opus-5-5"
    base_url: str = ""
    max_tokens: int = 32_000
    window_tokens: int = 200_000
    thinking: str = "adaptive"
    effort: str = ""
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """What a run may take of the disk (engine/housekeeping.py). A MB is a million bytes.

    Below `free_warn_mb` of room it warns, below `free_pause_mb` it pauses until there is room again.
    """

    artifacts_mb: float = 4000.0
    workspace_mb: float = 2000.0
    cache_mb: float = 4000.0
    log_mb: float = 16.0
    free_warn_mb: float = 1000.0
    free_pause_mb: float = 150.0
    compress_after_minutes: float = 60.0
    every_s: float = 300.0


@dataclass(frozen=True, slots=True)
class RunConfig:
    """Everything a run was started with."""

    problem: str
    problem_path: str
    operator: str = "playbook"
    seed: str = ""
    from_version: str = ""
    network: bool = False
    limits: Limits = field(default_factory=Limits)
    scorer: ScorerConfig = field(default_factory=ScorerConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    supervisor: SupervisorConfig = field(default_factory=SupervisorConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    housekeeping: Housekeeping = field(default_factory=Housekeeping)
    prices: dict[str, dict[str, float]] = field(default_factory=dict)


def load(path: Path) -> RunConfig:
    """Read a run's config.toml."""
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a run's folder holds its config.toml") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return from_table(RunConfig, data, str(path))


def save(config: RunConfig, path: Path) -> None:
    """Write a config.toml that `load` reads back to an equal value."""
    path.write_text("\n".join(_lines(asdict(config), "")) + "\n", "utf-8")


def from_table(cls: type[T], data: dict[str, Any], where: str) -> T:
    """Build a frozen dataclass from a TOML table; unknown keys and wrong types are named with their place."""
    hints = get_type_hints(cls)
    if unknown := sorted(set(data) - set(hints)):
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(hints))}")
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in data.items()}
    missing = [f.name for f in fields(cls) if f.name not in values and not _has_default(f)]  # type: ignore[arg-type]
    if missing:
        raise ConfigError(f"{where}: {missing[0]!r} is missing")
    return cls(**values)


def _has_default(f: Any) -> bool:
    return not (
        repr(f.default).startswith("<dataclasses._MISSING")
        and repr(f.default_factory).startswith("<dataclasses._MISSING")
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a table")
        return from_table(hint, value, where)  # type: ignore[arg-type]
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, dict):
        if get_origin(hint) is not dict:
            raise ConfigError(f"{where} must not be a table")
        return value
    allowed = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}
    kinds = [k for k in (str, bool, int, float) if k is hint or k in getattr(hint, "__args__", ())]
    exact = tuple(t for k in kinds for t in allowed[k])
    if kinds and (not isinstance(value, exact) or (isinstance(value, bool) and bool not in kinds)):
        raise ConfigError(f"{where} = {value!r} is not {' or '.join(k.__name__ for k in kinds)}")
    return value


def _lines(table: dict[str, Any], prefix: str) -> list[str]:
    plain = [f"{k} = {_toml(v)}" for k, v in table.items() if v is not None and not isinstance(v, dict)]
    for key, value in table.items():
        if isinstance(value, dict) and value:
            name = f"{prefix}{_key(key)}"
            plain += ["", f"[{name}]", *_lines(value, f"{name}.")]
    return plain


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
