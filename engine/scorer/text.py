"""Text that a candidate or its compiler had a hand in. One rule: it is data, so it is stripped, capped and labelled.

Terminal escapes, control characters and bidirectional overrides never reach a terminal, a log or a model.
"""

from __future__ import annotations

import re

LOG_LIMIT = 60_000
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.)", re.DOTALL
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean(data: bytes | str, limit: int = LOG_LIMIT) -> str:
    """Printable text of at most `limit` characters; what was cut is said in its place."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if len(text) > 4 * limit:  # the cleaning itself must stay cheap
        text = text[: 3 * limit] + "\n" + text[-limit:]
    text = _CONTROL.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    return f"{text[:head]}\n[… {len(text) - head - tail} characters left out …]\n{text[-tail:]}"


def one_line(text: str, limit: int = 300) -> str:
    """The first telling line of a text, for a reason."""
    lines = [line.strip() for line in clean(text, 20_000).splitlines() if line.strip()]
    line = next((x for x in lines if "error" in x.lower()), lines[0] if lines else "")
    return line if len(line) <= limit else line[: limit - 1] + "…"
