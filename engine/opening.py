"""Opening a run: its journal, its lineage, and the files that its first version is made of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine import intake
from engine.lineage import Lineage
from engine.record.config import RunConfig
from engine.record.errors import ConfigError, LineageError
from engine.record.journal import Journal
from engine.record.reader import Reader
from engine.record.run import RunFolder


def open_journal(folder: RunFolder) -> Journal:
    """The run's journal; a new one appears whole or not at all."""
    if folder.journal.exists():
        return Journal.open(folder.journal)
    for left in folder.path.glob("journal.new*"):
        left.unlink()
    fresh = folder.path / "journal.new"
    Journal.create(fresh, folder.name).close()
    fresh.rename(folder.journal)
    return Journal.open(folder.journal)


def open_lineage(folder: RunFolder, reader: Reader) -> Lineage:
    """The run's lineage; a new one only for a run that has no version yet."""
    if (folder.lineage / "HEAD").is_file():
        return Lineage(folder.lineage)
    if reader.versions():
        raise LineageError(f"{folder.lineage} is missing; restore it from a backup, then resume")
    return Lineage.create(folder.lineage)


def seed_files(config: RunConfig, seed: Path) -> tuple[Mapping[str, bytes], str]:
    """Version 0's files and where they came from: the configuration's seed, a version of another run, the problem's."""
    if "@v" in config.from_version:
        run, _, version = config.from_version.rpartition("@v")
        if not version.isdigit():
            raise ConfigError(f"from_version = {config.from_version!r} is not PATH@vN")
        files = Lineage(RunFolder(Path(run)).lineage).files(int(version))
        return files, f"seed from {config.from_version}"
    source = Path(config.seed) if config.seed else seed
    if source.is_file():
        return {source.name: source.read_bytes()}, f"seed from {source}"
    return intake.read_sources(source), f"seed from {source}"
