"""`python -m engine.scorer`: one request on standard input and one result on standard output; with --serve JSON lines
both ways until the input ends; with --spool DIR requests and results as files (spool.py). One rule: standard output
carries JSON and nothing else.
"""

from __future__ import annotations

import os
import sys
import warnings


def main() -> int:
    """Run the scorer's process. Returns its exit status."""
    # The judge's own threads must not spin on the cores that a candidate is measured on. libgomp reads this once,
    # when torch is imported.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")  # nothing here uses numpy
    from engine.scorer.serve import main as serve

    return serve(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(main())
