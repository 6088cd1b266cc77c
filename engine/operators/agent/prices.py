"""What a model call costs. The table is configuration: prices.toml beside this file, overlaid by the run's own.

One rule: an unknown model costs None, never a guess; its tokens are shown without a price.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from engine.operators.agent.reply import Usage
from engine.record.errors import ConfigError

Table = Mapping[str, Mapping[str, float]]
KINDS = ("input", "output", "cache_read", "cache_write")
_DATED = re.compile(r"-20\d{6}\Z")


def usd(usage: Usage, model: str, own: Table) -> float | None:
    """US dollars of one call, or None when the model has no price. `own` is RunConfig.prices."""
    price = own.get(model) or shipped().get(model) or shipped().get(_DATED.sub("", model))
    if price is None:
        return None
    if missing := [kind for kind in KINDS if kind not in price]:
        raise ConfigError(
            f"prices.{model}: {missing[0]!r} is missing; give USD per million tokens for {', '.join(KINDS)}"
        )
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
    return sum(n * price[kind] for n, kind in zip(counts, KINDS, strict=True)) / 1e6


@cache
def shipped() -> Table:
    """The table that comes with AVO."""
    table: Table = tomllib.loads((Path(__file__).parent / "prices.toml").read_text("utf-8"))
    return table
