"""`avo costs`: what each version cost, in model calls, tokens, money and time, and what a percent of gain costs."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from avo_tui.commands.named import print_json, run_of
from avo_tui.tables import NOTHING, span, table
from engine.record.costs import Cost, costs, total_percent
from engine.record.reader import Reader

_HEAD = ["version", "gain", "time", "attempts", "calls", "tokens", "cost", "a percent"]


def show(arguments: Namespace) -> int:
    """The ledger of a run, one line for each version and one for all."""
    folder = run_of(arguments)
    with Reader(folder.journal) as reader:
        parts = costs(reader)
    if arguments.json:
        print_json([{**asdict(part), "usd_per_percent": part.usd_per_percent} for part in parts])
        return 0
    if not parts:
        print(f"run {folder.name} has cost nothing yet")
        return 0
    total = total_percent(parts)
    usd = sum(p.usd for p in parts)
    committed = sum(p.version is not None for p in parts)
    if not any(p.calls for p in parts):
        print(table(_HEAD[:4], [_row(part)[:4] for part in parts]))
        print(f"no model was called: {committed} versions and {total:+.1f}% cost {span(sum(p.seconds for p in parts))}")
        return 0
    print(table(_HEAD, [_row(part) for part in parts]))
    each = f", ${usd / committed:.4f} a version" if committed and usd else ""
    percent = f", ${usd / total:.4f} for each percent" if total > 0 and usd else ""
    print(f"in all ${usd:.4f} for {committed} versions and {total:+.1f}%{each}{percent}")
    if unpriced := sum(p.unpriced for p in parts):
        print(f"{unpriced} calls had a model without a known price; config.toml takes [prices.MODEL]")
    return 0


def _row(part: Cost) -> list[str]:
    percent = NOTHING if part.percent is None else f"{part.percent:+.1f}%"
    each = NOTHING if part.usd_per_percent is None else f"${part.usd_per_percent:.4f}"
    name = "since then" if part.version is None else f"v{part.version}"
    counts = [f"{n:,}" for n in (part.attempts, part.calls, part.tokens)]
    return [name, percent, span(part.seconds), *counts, f"${part.usd:.4f}", each]
