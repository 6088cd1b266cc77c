"""Commands whose names are taken and whose work comes with a later version. Each says so and exits 2."""

from __future__ import annotations

from argparse import Namespace

from engine.record.errors import UsageError


def report(_: Namespace) -> int:
    """`avo report`: figures and tables of a run."""
    raise UsageError("'avo report' comes with a later version; 'avo versions --json' has the figures today")


def replay(_: Namespace) -> int:
    """`avo replay`: a finished run, played again."""
    raise UsageError("'avo replay' comes with a later version; 'avo log RUN' has every event today")
