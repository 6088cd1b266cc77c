"""What a program leaves behind dies with it, however fast it forks."""

import os
import select
import subprocess
import sys

from served import ROOT

# Each link forks the next one and ends at once, in a group of its own; whoever lives holds the pipe.
CHAIN = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setpgid(0, 0)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
    time.sleep(float(sys.argv[1]))
"""
ENDED = """
import sys
from engine.scorer import sandbox
from engine.scorer.children import Children, become_subreaper
become_subreaper()
children = Children(sandbox.unchosen())
held = int(sys.argv[1])
for pause in ("0.002", "0.0001"):
    argv = [sys.executable, "-c", sys.argv[2], pause]
    done = children.run(argv, env={}, pass_fds=(held,), timeout_s=30.0, limit=1000)
    print(done.code, done.output)
"""


def test_a_chain_of_forks_does_not_outrun_the_sweep() -> None:
    read, write = os.pipe()
    argv = [sys.executable, "-c", ENDED, str(write), CHAIN]
    process = subprocess.Popen(argv, cwd=ROOT, pass_fds=(write,), stdout=subprocess.PIPE, text=True)
    os.close(write)
    said, _ = process.communicate(timeout=60)
    with os.fdopen(read, "rb") as held:
        assert said == "0 b''\n0 b''\n"
        assert select.select([held], [], [], 5.0)[0], "a process outlived the sweep"
