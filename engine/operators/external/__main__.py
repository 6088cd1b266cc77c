"""`python -m engine.operators.external RUN_FOLDER`: serve a run's tools over MCP on standard input and output."""

import sys

from engine.operators.external.bridge import main

sys.exit(main(sys.argv[1:]))
