"""Archiving: a run as one file, and a run from such a file."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from avo_tui.commands.named import print_json, run_of
from engine.record.errors import ConfigError, Refused
from engine.record.run import runs_directory


def archive(arguments: Namespace) -> int:
    """`avo archive RUN -o FILE`: journal, lineage, artifacts and configuration as one .tar.gz."""
    from engine.archive import pack

    folder, file = run_of(arguments), Path(arguments.output).expanduser().absolute()
    if file.exists():
        raise Refused(f"{file} exists already; name another file")
    try:
        made = pack(folder, file, forget=arguments.forget, artifacts=arguments.artifacts)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}; name another place with -o") from error
    if arguments.json:
        print_json({"run": made.run, "file": str(made.path), "files": made.files, "bytes": made.size_bytes})
    else:
        print(f"{made.run} written to {made.path}: {made.files} files, {made.size_bytes / 1e6:.1f} MB")
        print(f"'avo verify {made.path}' checks it; 'avo restore {made.path}' brings it back, here or elsewhere")
    return 0


def restore(arguments: Namespace) -> int:
    """`avo restore FILE`: the run in an archive, or in a shipped lineage's folder, among the runs here."""
    from engine.archive import unpack

    source = Path(arguments.file).expanduser().absolute()
    if not source.exists():
        raise Refused(f"{source} does not exist; 'avo archive RUN -o FILE' makes one")
    runs = runs_directory(arguments.runs)
    try:
        made = unpack(source, runs, arguments.name)
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"cannot restore into {runs}: {why}; choose another place with --runs") from error
    if arguments.json:
        print_json({"run": made.run, "directory": str(made.path), "files": made.files, "bytes": made.size_bytes})
    else:
        print(f"{made.run} restored to {made.path}; 'avo attach {made.run}' shows it")
    return 0
