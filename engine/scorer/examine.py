"""Look at a candidate's library with a tool of the system's, in the sandbox: whoever wrote the candidate made it.

One rule: no program of ours or the system's opens a candidate's library outside.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from engine.scorer import sandbox
from engine.scorer.children import Children
from engine.scorer.toolchain import temporary

OUTPUT_LIMIT = 32 << 20
TIMEOUT_S = 60
NAME = "candidate.so"


def examine(argv: Sequence[str], library: Path, children: Children, cache: Path) -> str | None:
    """What `argv` prints when NAME, in its folder, is a copy of the library; None when it fails."""
    with temporary(cache) as folder:
        folder.chmod(0o711)  # the sandbox's uid passes, and sees nothing
        copy, output = folder / "in", folder / "out"
        copy.mkdir(mode=0o755)
        output.mkdir(mode=0o700)
        sandbox.give(children.sandbox, output)
        shutil.copyfile(library, copy / NAME)
        job = sandbox.build_job(children.sandbox, list(argv), copy, output, cpu_s=TIMEOUT_S)
        done = children.run(
            job.argv, env=job.env, cwd=Path(job.cwd), pass_fds=job.pass_fds, timeout_s=TIMEOUT_S, limit=OUTPUT_LIMIT
        )
    return done.output.decode("utf-8", "replace") if done.code == 0 else None
