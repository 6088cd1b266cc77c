"""`avo completions SHELL`: the script that teaches a shell to complete avo."""

from __future__ import annotations

from argparse import Namespace

from avo_tui.arguments import parser
from avo_tui.completions import script
from engine.data import kernels_directory


def show(arguments: Namespace) -> int:
    """Print the script."""
    print(script(arguments.shell, parser(), str(kernels_directory())), end="")
    return 0
