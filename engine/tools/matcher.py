"""The matcher: looks for a regular expression in texts, in a process of its own. Standard library only; a script.

A pattern can take for ever; here that costs a killed child instead of a stopped engine.
Standard input: {"pattern", "ignore_case", "most", "texts": [[name, text], ...]}; standard output: the matching lines.
"""

from __future__ import annotations

import json
import re
import sys

LINE_LIMIT = 300


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    try:
        pattern = re.compile(request["pattern"], re.IGNORECASE if request["ignore_case"] else 0)
    except re.error as error:
        json.dump({"error": f"the pattern is not a regular expression: {error}"}, sys.stdout)
        return 0
    found = []
    for name, text in request["texts"]:
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line[:LINE_LIMIT]}")
                if len(found) > request["most"]:
                    break
    json.dump({"lines": found}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
