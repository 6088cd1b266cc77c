"""The page: one HTML document that needs nothing beside itself, reads well on paper, in light and in dark.

Everything that came from outside is escaped; there is no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from avo_tui.report.colours import DARK, LIGHT, variables
from avo_tui.report.drawing import Drawing
from avo_tui.report.facts import OUTCOMES, Facts
from avo_tui.report.svg import FACE, svg
from avo_tui.summary import Summary
from avo_tui.tables import NOTHING, moment, one_line, percent, rate, span, times
from engine.record.costs import Cost, total_percent
from engine.record.scores import Integrity

STYLE = Path(__file__).with_name("page.css")
Cells = Sequence[str]


def page(facts: Facts, figures: Sequence[tuple[Drawing, str]], *, written_at: float) -> str:
    """The document. `figures` are drawings with what is written below each."""
    s = facts.summary
    drawn = (
        f"<figure>\n{svg(drawing)}\n<figcaption><b>Figure {n}.</b> {escape(words)}</figcaption>\n</figure>"
        for n, (drawing, words) in enumerate(figures, 1)
    )
    parts = [_head(s), *drawn, _versions(s), _attempts(facts), _directions(facts), _interventions(facts)]
    parts += [_alerts(facts), _spend(facts), _machine(s), _foot(s, written_at)]
    body = "\n".join(part for part in parts if part)
    style = STYLE.read_text("utf-8").replace("FACE", FACE)
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(s.run)}: report</title>
<style>
:root {{ {variables(LIGHT)} }}
{dark}
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def _head(s: Summary) -> str:
    head = s.incumbent
    tiles = [
        ("best version", f"v{head.version}" if head else "none"),
        ("geomean", rate(head.geomean_tflops) if head else NOTHING),
    ]
    tiles += [(f"of {name}", times(s.against(name))) for name in s.baselines]
    tiles += [("of the seed", times(s.gain)), ("versions", str(len(s.versions))), ("attempts", f"{s.attempts:,}")]
    tiles += [("worked on", span(s.elapsed_s))]
    if s.spend.calls:
        tiles.append(("model calls", f"${s.spend.usd:,.2f}"))
    shown = "".join(f"<div><dd>{escape(value)}</dd><dt>{escape(name)}</dt></div>" for name, value in tiles)
    by = f"{s.operator} with {s.model}" if s.model else s.operator
    why = f": {s.reason}" if s.reason else ""
    said = escape(f"{s.problem} by {by}, from {moment(s.created_at)}; {s.state}{why}")
    return f"<header><h1>{escape(s.run)}</h1>\n<p>{said}</p>\n<dl class=tiles>{shown}</dl></header>"


def _versions(s: Summary) -> str:
    head = [
        "version",
        "commit",
        "geomean",
        "ratio",
        "interval",
        *(f"of {n}" for n in s.baselines),
        "verdict",
        "direction",
    ]
    rows = []
    for v in s.versions:
        mark = " ★" if s.incumbent and v.version == s.incumbent.version else "" if v.active else " (withdrawn)"
        between = f"{v.low:.3f}–{v.high:.3f}" if v.low is not None and v.high is not None else NOTHING
        rivals = [b.geomean_tflops for b in s.baselines.values()]
        over = [times(v.geomean_tflops / b if b and v.geomean_tflops else None) for b in rivals]
        name = one_line(v.name or v.direction, 90)
        rows.append(
            [
                f"v{v.version}{mark}",
                v.commit[:9],
                rate(v.geomean_tflops),
                times(v.ratio),
                between,
                *over,
                v.verdict,
                name,
            ]
        )
    note = "Ratio and 95 % interval are against the incumbent of the time, measured side by side by the gate."
    return _section("Versions", _table(head, rows, left={0, 1, len(head) - 2, len(head) - 1}), note)


def _attempts(facts: Facts) -> str:
    every = sum(facts.outcomes.values())
    rows = [[OUTCOMES[name], f"{n:,}", percent(n / every)] for name, n in facts.outcomes.items()]
    stages = ", ".join(f"{name} {n:,}" for name, n in facts.stages.items() if name != "ok")
    note = f"Failed at: {stages}." if stages else ""
    return _section("Attempts", _table(["outcome", "attempts", "share"], rows, left={0}), note) if every else ""


def _directions(facts: Facts) -> str:
    tried = [d for d in facts.directions if d.tried]
    best = sorted((d for d in tried if d.best_ratio), key=lambda d: -(d.best_ratio or 0.0))[:12]
    if not tried:
        return ""
    rows = [[one_line(d.name, 80), d.source, str(d.tried), times(d.best_ratio), d.state] for d in best]
    note = f"{len(tried)} of {len(facts.directions)} directions were pursued; these gained most."
    return _section(
        "Directions", _table(["direction", "from", "tried", "best ratio", "state"], rows, left={0, 1, 4}), note
    )


def _interventions(facts: Facts) -> str:
    helped = {True: "helped", False: "did not help", None: "not judged yet"}
    began = facts.summary.created_at
    rows = [
        [
            span(i.at - began),
            i.level,
            one_line(i.diagnosis, 160),
            f"{helped[i.helped]}{f': {one_line(i.how, 120)}' if i.how else ''}",
        ]
        for i in facts.interventions
    ]
    body = _table(["after", "level", "what the supervisor concluded", "outcome"], rows, left={1, 2, 3})
    return _section("Interventions", body if rows else "<p>The supervisor never had to step in.</p>")


def _alerts(facts: Facts) -> str:
    began = facts.summary.created_at
    rows = [
        [span(a.at - began), a.severity, one_line(a.name, 120), f"closed by {a.closed_by}" if a.closed_at else "open"]
        for a in facts.alerts[-200:]
    ]
    body = _table(["after", "severity", "alert", "state"], rows, left={1, 2, 3})
    return _section("Alerts", body if rows else "<p>None.</p>")


def _spend(facts: Facts) -> str:
    parts, s = facts.costs, facts.summary.spend
    if not parts:
        return ""
    if not s.calls:
        head = ["version", "gain", "time", "attempts"]
        rows = [_cost(part)[:4] for part in parts]
        return _section("Spend", _table(head, rows, left={0}), "No model was called; this run cost machine time only.")
    head = ["version", "gain", "time", "attempts", "calls", "tokens", "cost", "for each percent"]
    committed, gained = sum(p.version is not None for p in parts), total_percent(parts)
    each = [f"${s.usd / committed:.4f} a commit"] if committed else []
    each += [f"${s.usd / gained:.4f} for each percent of the {gained:+.1f} % gained"] if gained > 0 else []
    tokens = f"{s.input_tokens:,} tokens in, {s.output_tokens:,} out, {s.cache_read_tokens:,} read from the cache"
    unpriced = f" {s.unpriced_calls:,} calls have no known price." if s.unpriced_calls else ""
    note = f"In all ${s.usd:,.4f} in {s.calls:,} calls: {', '.join(each)}. {tokens}.{unpriced}"
    return _section("Spend", _table(head, [_cost(part) for part in parts], left={0}), note)


def _cost(part: Cost) -> list[str]:
    gain = NOTHING if part.percent is None else f"{part.percent:+.1f} %"
    each = NOTHING if part.usd_per_percent is None else f"${part.usd_per_percent:.4f}"
    name = "since then" if part.version is None else f"v{part.version}"
    return [
        name,
        gain,
        span(part.seconds),
        f"{part.attempts:,}",
        f"{part.calls:,}",
        f"{part.tokens:,}",
        f"${part.usd:.4f}",
        each,
    ]


def _machine(s: Summary) -> str:
    head = s.incumbent
    if head is None:
        return ""
    score, integrity = head.score, head.score.integrity
    facts = [
        ["device", score.device or NOTHING],
        ["sources", score.source_hash[:16] or NOTHING],
        ["commit", head.commit],
    ]
    facts += [["sandbox", _sandbox(integrity)], ["calls checked", f"{integrity.calls:,}"]]
    facts += [["noise of the machine", f"{percent(integrity.noise)}{_quiet(integrity)}"]]
    checks = [
        [c.name, "passed" if c.passed else "FAILED", percent(c.margin), one_line(c.detail, 120)]
        for c in integrity.checks
    ]
    body = _table(["", f"v{head.version}"], facts, left={0, 1})
    if checks:
        body += _table(["check", "result", "of limit", "detail"], checks, left={0, 1, 3})
    return _section("Machine and integrity", body)


def _sandbox(integrity: Integrity) -> str:
    return (integrity.tier or NOTHING) + (" (UNSAFE: measured without a sandbox)" if integrity.unsafe else "")


def _quiet(integrity: Integrity) -> str:
    return {True: ", quiet", False: ", noisy", None: ""}[integrity.quiet]


def _foot(s: Summary, written_at: float) -> str:
    again = f"avo bench {s.run}@best --problem {s.problem}" if s.problem else ""
    words = f"Written by 'avo report {s.run}' on {moment(written_at)}."
    return (
        f"<footer><p>{escape(words)}"
        + (f" Measure it again: <code>{escape(again)}</code>" if again else "")
        + "</p></footer>"
    )


def _section(title: str, body: str, note: str = "") -> str:
    said = f"\n<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}\n{body}</section>"


def _table(head: Cells, rows: Iterable[Cells], *, left: set[int]) -> str:
    """A table; the columns in `left` hold words, the others figures."""

    def line(cells: Cells, tag: str) -> str:
        kinds = (f"<{tag}>" if i in left else f"<{tag} class=n>" for i in range(len(cells)))
        return "<tr>" + "".join(f"{kind}{escape(c)}</{tag}>" for kind, c in zip(kinds, cells, strict=True)) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f"<div class=wide><table>\n<thead>{line(head, 'th')}</thead>\n<tbody>\n{body}\n</tbody></table></div>"
