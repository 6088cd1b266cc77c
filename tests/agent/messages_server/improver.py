"""A policy that really improves mha_cpu: threads and vectors, then blocks of rows,
then a cheaper exp.

It also does what a model does on the way: plans, looks things up, breaks the build, gets numbers wrong,
takes notes, acknowledges directions, writes handoffs and reviews. The same requests get the same replies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

from messages_server.reply import Reply, say, think, use
from messages_server.segments import blocks_of

_KERNELS = Path(__file__).parent / "kernels"
SOURCE, BLOCKED = ((_KERNELS / name).read_text("utf-8") for name in ("attention.cpp", "blocked.cpp"))
FILE = "attention.cpp"
DOT = "for (int d = 0; d < n; ++d) sum"
LESS = "for (int d = 0; d < n - 8; ++d) sum"
LIBM, CHEAP = "w[j] = std::exp(w[j] - largest)", "w[j] = fast_exp(w[j] - largest)"
NARROW, WIDE = "kKeys = 16", "kKeys = 32"
TEXTS = ("threads and vectors", "four rows share each key", "a cheap exp and wider tiles", "the size of a chunk")
_DIRECTION = re.compile(r'<direction id="([^"]+)"')
REVIEW = {
    "diagnosis": "The last attempts changed only constants; the time goes into reading K once for every query row.",
    "directions": [
        {
            "title": "Block the queries",
            "why": "K is read once for several rows",
            "first_step": "Tile four rows.",
            "knowledge": [],
        },
        {
            "title": "Online softmax",
            "why": "no row of scores in memory",
            "first_step": "Keep a running maximum.",
            "knowledge": [],
        },
        {
            "title": "A cheaper exp",
            "why": "libm is called for each weight",
            "first_step": "A polynomial.",
            "knowledge": [],
        },
    ],
}


Script = Generator[Reply, dict[str, Any], None]


class Improver:
    """Replies in the order of its script, and out of turn to directions, handoffs and reviews."""

    def __init__(self, steps: int = 3) -> None:
        self._script = _script(steps)
        self._begun = False
        self._answered: set[str] = set()

    def __call__(self, body: dict[str, Any]) -> Reply:
        """The reply to one request."""
        last = "\n".join(b.get("text", "") for b in blocks_of(body["messages"][-1]["content"]))
        if "<handoff_request>" in last:
            return Reply([say("Time goes into the scores. Next: what the plan says.")])
        if not body.get("tools"):
            return Reply([say(json.dumps(REVIEW))])
        if new := [i for i in _DIRECTION.findall(last) if i not in self._answered]:
            self._answered.update(new)
            return Reply([use("acknowledge", direction=i, obeyed=True, words="I will, after this step.") for i in new])
        if not self._begun:
            self._begun = True
            return next(self._script)
        return self._script.send(body)


def _script(steps: int) -> Script:
    yield Reply(
        [
            think("Look first: the sources, what is known, what was tried."),
            use("find", pattern="attention_forward"),
            use("read", path=FILE),
            use("knowledge_search", query="softmax vectorisation threads"),
            use("lineage", action="log"),
        ]
    )
    yield Reply([say("The plan, most promising first."), _plan(0)])
    yield from _step(0, [use("write", path=FILE, content=SOURCE)])
    yield Reply([think("Where does the time go now?"), use("profile", configurations=["full_512"])])
    yield Reply([think("A shorter dot product should fail the check."), _edit(DOT, LESS)])
    yield Reply([use("evaluate", suite="quick", hypothesis="the last eight elements hardly count")])
    yield Reply([_edit(LESS, "this does not compile"), use("evaluate", suite="quick", hypothesis="a typo")])
    yield Reply(
        [use("lineage", action="restore", rev="best"), use("notes", action="append", text="Shortcuts fail the check.")]
    )
    yield from _step(1, [use("write", path=FILE, content=BLOCKED.replace(CHEAP, LIBM).replace(WIDE, NARROW))])
    yield from _step(2, [_edit(LIBM, CHEAP), _edit(NARROW, WIDE)])
    for number in range(3, max(3, steps)):
        yield from _step(number, [_edit("dynamic, 1)", f"dynamic, {number})")])
        yield Reply([use("lineage", action="restore", rev="best")])
    while True:
        yield Reply([use("lineage", action="log")])


def _step(number: int, edits: list[dict[str, Any]]) -> Script:
    what = TEXTS[min(number, len(TEXTS) - 1)]
    yield Reply([_plan(number), *edits])
    yield Reply([think("Measure before submitting."), use("evaluate", suite="quick", hypothesis=what)])
    for words in (f"Submitting: {what}.", "A busy machine can hide a gain: once more.", "A last time."):
        submit = use("submit", message=what, hypothesis=f"{what}: less time in the scores")
        body = yield Reply([say(words), submit])
        if number >= 3 or "committed as" in json.dumps(body["messages"][-1]):
            return


def _plan(active: int) -> dict[str, Any]:
    states = ["done" if i < active else "active" if i == active else "pending" for i in range(len(TEXTS))]
    items = [{"id": str(i), "text": t, "status": s} for i, (t, s) in enumerate(zip(TEXTS, states, strict=True))]
    return use("plan", items=items)


def _edit(old: str, new: str) -> dict[str, Any]:
    return use("edit", path=FILE, old_string=old, new_string=new)
