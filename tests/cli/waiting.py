"""How far a run has come, for those who wait for it."""

from engine.record.reader import Reader
from engine.record.run import RunFolder


def versions_of(folder: RunFolder) -> int:
    """How many versions a run has by now."""
    with Reader(folder.journal) as reader:
        return reader.counts()[0]
