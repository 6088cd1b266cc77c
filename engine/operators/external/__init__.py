"""The operator `external`: any coding agent that speaks MCP varies the incumbent, with the run's own tools.

desk        the engine's side: a socket in the run's folder, where calls wait for their turn
operator    one turn is one call
bridge      the MCP server that an agent starts: `python -m engine.operators.external RUN_FOLDER`
            (needs the optional extra: pip install 'avo-tui[mcp]')
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.operators.external.operator import External
    from engine.session import Session


def create(session: Session) -> External:
    """The operator, with nobody connected yet."""
    from engine.operators.external.operator import External

    return External(session)
