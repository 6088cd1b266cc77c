"""The GPU worker's sandbox, as far as it shows without a GPU: what a program inside sees, and the way back out."""

import os
import subprocess

import pytest

from engine.record.errors import Refused
from engine.scorer import sandbox, stages
from engine.scorer import toolchain as tools
from engine.scorer.landlock import wrap

SCRIPT = """
id -u
while read -r name value; do
  [ "$name" = NoNewPrivs: ] && echo "privileges $value"
  [ "$name" = CapEff: ] && echo "powers $value"
  [ "$name" = CapBnd: ] && [ "$1" = own ] && echo "bound $value"
done < /proc/self/status
[ "$1" = own ] && shift
cat "$1" 2>/dev/null && echo read
echo x > /tmp/device-job-was-here 2>/dev/null && echo wrote
echo worker > /proc/self/task/$$/comm && echo named
ls /usr >/dev/null && echo usr
cat /proc/devices >/dev/null && echo devices
"""


def job_of(secret, *, own_uid):
    """A shell in the GPU worker's place, told to look around and for `secret`: what it said, line by line."""
    try:
        chosen = sandbox.choose()
    except Refused as refused:
        pytest.skip(str(refused))
    confined = sandbox.Sandbox(sandbox.LANDLOCK, (), chosen.cache, tools.launcher(tools.find()))
    shell = tools.default_cache() / "no-such-candidate.so"
    runner = tools.runner(tools.find())
    env = {"PATH": "/usr/bin:/bin"}
    job = sandbox.device_job(confined, runner, shell, [], env=env, fds=(), own_uid=own_uid)
    begin = job.argv.index("--")
    look = ["own"] if own_uid and os.geteuid() == 0 else []
    argv = [*job.argv[: begin + 1], "/bin/sh", "-c", SCRIPT, "sh", *look, str(secret)]
    done = subprocess.run(argv, env=job.env, capture_output=True, text=True, timeout=20)
    assert "confine: " not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("own_uid", [False, True], ids=["another-user", "same-user"])
def test_a_gpu_worker_has_no_powers_sees_the_driver_and_nothing_of_ours(own_uid, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    said = job_of(secret, own_uid=own_uid)
    becomes = os.geteuid() == 0 and not own_uid
    assert said[0] == str(sandbox.worker_uid() if becomes else os.getuid())
    assert {"privileges 1", "powers 0000000000000000", "named", "usr", "devices"} <= set(said)
    assert not {"secret", "read", "wrote"} & set(said)
    if own_uid and os.geteuid() == 0:
        assert "bound 0000000000000000" in said, "an exec would give the powers back"


def test_devices_are_named_one_by_one():
    launcher = tools.launcher(tools.find())
    job = sandbox.Job(
        argv=("/bin/true",), env={}, uid=None, limits=sandbox.Limits(), directory=sandbox.Path("/"),
        outside_directory=sandbox.Path("/"), devices=("/dev/nvidia0", "/dev/nvidiactl"),
    )  # fmt: skip
    argv = wrap(job, launcher, tools.default_cache(), None).argv
    assert [argv[i + 1] for i, part in enumerate(argv) if part == "--rd"] == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert stages.MOST > 2


@pytest.mark.filterwarnings("ignore:Failed to initialize NumPy")
def test_only_a_runner_that_reached_the_device_counts_as_confined(tmp_path):
    from engine.record.errors import ScorerError
    from engine.scorer.cuda.worker import NO_LIBRARY, reached
    from engine.scorer.failure import fail

    def ends_with(error):
        def start(kind, library):
            assert kind.confined
            raise error

        return start

    assert (
        reached(ends_with(fail("build", f"the library does not load: /x/{NO_LIBRARY}: no such file")), tmp_path) == ""
    )
    assert "map" in reached(ends_with(ScorerError("the worker could not map its shared memory")), tmp_path)
    assert "killed" in reached(ends_with(fail("crash", "the candidate was killed by SIGSYS")), tmp_path)
