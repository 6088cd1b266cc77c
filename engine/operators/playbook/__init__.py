"""The playbook operator, the embedded default: no key, no network, a catalogue of directions beside the problem.

`operator` plays; `catalogue`, `conditions` and `edits` are the format; `choose`, `memory`, `steer` and `sweep`
are its decisions, all of them pure but for reading the journal; `words` is what it says.
"""

from __future__ import annotations

from engine.operators.playbook.catalogue import load
from engine.operators.playbook.operator import Playbook
from engine.record.config import RunConfig
from engine.scorer import problem as problems
from engine.session import Session

__all__ = ["Playbook", "create", "ready"]


def create(session: Session) -> Playbook:
    """The operator for a session's problem, its directions offered. Raises ConfigError when that fails."""
    catalogue = load(session.problem.folder / "playbook")
    session.offer([(d.id, d.title, d.hypothesis) for d in catalogue.directions])
    return Playbook(catalogue)


async def ready(config: RunConfig) -> None:
    """Raise ConfigError, naming the file, when a direction cannot be used: nobody waits for a seed to hear it."""
    load(problems.load(config.problem_path).folder / "playbook")
