"""`python -m engine.operators.external RUN_FOLDER`: serve a run's tools over MCP on standard input and output."""

import sys

from engine.operators.external.bridge import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
