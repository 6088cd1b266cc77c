"""A check of a tool's arguments against its JSON schema, with the first violation as a sentence.

Only the words that our own schemas use: type, properties, required, additionalProperties, items, enum,
minimum, maximum, minLength, maxLength, maxItems. An unknown word in a schema is our mistake and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WORDS = frozenset(
    {"type", "description", "properties", "required", "additionalProperties", "items", "enum", "default"}
    | {"minimum", "maximum", "minLength", "maxLength", "maxItems"}
)
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


def violation(value: Any, schema: Mapping[str, Any], where: str = "") -> str | None:
    """The first thing that is wrong with `value`, or None."""
    if strange := set(schema) - WORDS:
        raise ValueError(f"a schema uses {sorted(strange)[0]!r}, which is not checked here")
    at = where or "the arguments"
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        return f"{at} must be {_article(kind)}, not {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} must be one of {', '.join(map(str, schema['enum']))}, not {_shown(value)}"
    if kind in {"integer", "number"}:
        return _range(value, schema, at)
    if kind == "string":
        return _length(value, schema, at)
    if kind == "array":
        return _array(value, schema, at)
    return _object(value, schema, where) if kind == "object" else None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "object":
        return isinstance(value, Mapping)
    return isinstance(value, _TYPES[kind])


def _range(value: float, schema: Mapping[str, Any], at: str) -> str | None:
    low, high = schema.get("minimum"), schema.get("maximum")
    if (low is not None and value < low) or (high is not None and value > high):
        return f"{at} = {value} is not in [{'-∞' if low is None else low}, {'∞' if high is None else high}]"
    return None


def _length(value: str, schema: Mapping[str, Any], at: str) -> str | None:
    if len(value.strip()) < schema.get("minLength", 0):
        return f"{at} is empty"
    if len(value) > schema.get("maxLength", len(value)):
        return f"{at} has {len(value):,} characters, the limit is {schema['maxLength']:,}"
    return None


def _array(value: Any, schema: Mapping[str, Any], at: str) -> str | None:
    if len(value) > schema.get("maxItems", len(value)):
        return f"{at} has {len(value)} items, the limit is {schema['maxItems']}"
    found = (violation(item, schema.get("items", {}), f"{at}[{i}]") for i, item in enumerate(value))
    return next((f for f in found if f), None)


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    known = schema.get("properties", {})
    prefix = f"{where}." if where else ""
    for name in schema.get("required", ()):
        if name not in value:
            return f"{prefix}{name} is missing"
    for name, item in value.items():
        if name not in known:
            return f"unknown argument {prefix + str(name)!r}; known: {', '.join(known) or 'none'}"
        if wrong := violation(item, known[name], f"{prefix}{name}"):
            return wrong
    return None


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
