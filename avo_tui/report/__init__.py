"""The report of a run: facts, drawings of them, and the page and files that they are written to."""
