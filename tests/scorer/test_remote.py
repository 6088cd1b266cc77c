"""What a scorer on another node leaves behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.scorer import remote

ROOT = Path(remote.__file__).parents[2]
MAKE = "import time; from engine.scorer.remote import Remote; r = Remote([], 'KEY'); print('made', flush=True)"
HOLD = f"{MAKE}; time.sleep(60)"


@pytest.fixture
def worker(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline() == b"made\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_home_of_a_killed_worker_is_removed_by_the_next_and_that_of_a_living_one_kept(worker, tmp_path):
    (home,) = tmp_path.glob("avo-remote-*")
    long_ago = time.time() - 3600
    os.utime(home, (long_ago, long_ago))
    for living in (True, False):
        subprocess.run([sys.executable, "-c", MAKE], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        assert home.exists() is living
        worker.kill()
        worker.wait()
    assert list(tmp_path.iterdir()) == []
