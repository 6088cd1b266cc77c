"""The command line: `avo`. Parses, calls one command, and turns what went wrong into one line and an exit code.

Exit codes: 0 done; 1 the candidate or the command was refused, with the reason; 2 usage or our own error.
Nothing heavy is imported here, and a command's module only when it is called.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from avo_tui.arguments import parser
from engine.record.errors import AvoError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _call(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except AvoError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:
        nobody_reads()
        return 0
    except OSError as error:
        if not error.filename or os.environ.get("AVO_DEBUG"):
            return _unexpected(error)
        return _fail(f"{error.filename}: {error.strerror}", 2)
    except Exception as error:
        if type(error).__name__ == "DatabaseError" and not os.environ.get("AVO_DEBUG"):  # sqlite3 is not imported here
            return _fail(f"the journal is damaged ({error}); 'avo verify RUN' says more, 'avo restore' a copy", 2)
        return _unexpected(error)
    return code


def nobody_reads() -> None:
    """Whoever read our output has seen enough: the rest goes nowhere, and nothing complains at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(argv: Sequence[str]) -> int:
    arguments = parser(argv[0] if argv else "").parse_args(argv)
    if not hasattr(arguments, "call"):
        parser().print_help()
        return 0
    return called(arguments)


def called(arguments: Namespace) -> int:
    """Run the command that the arguments name; returns its exit code."""
    module, function = arguments.call.split(":")
    code: int = getattr(import_module(f"avo_tui.commands.{module}"), function)(arguments)
    return code


def _fail(message: str, code: int) -> int:
    print("avo: " + " ".join(message.split()), file=sys.stderr)
    return code


def _unexpected(error: Exception) -> int:
    import traceback  # a sixth of what this module would import, for what should not happen

    if os.environ.get("AVO_DEBUG"):
        traceback.print_exc()
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return _fail(f"{type(error).__name__}: {error} ({place}); AVO_DEBUG=1 shows the traceback", 2)


if __name__ == "__main__":
    sys.exit(main())
