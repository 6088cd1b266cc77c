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
while read -r name value; do [ "$name" = NoNewPrivs: ] && echo "privileges $value"; done < /proc/self/status
cat "$1" 2>/dev/null && echo read
echo x > /tmp/device-job-was-here 2>/dev/null && echo wrote
ls /usr >/dev/null && echo usr
cat /proc/devices >/dev/null && echo devices
"""


def test_a_gpu_worker_is_nobody_sees_the_driver_and_nothing_of_ours(tmp_path):
    try:
        chosen = sandbox.choose()
    except Refused as refused:
        pytest.skip(str(refused))
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    confined = sandbox.Sandbox(sandbox.LANDLOCK, (), chosen.cache, tools.launcher(tools.find()))
    shell = tools.default_cache() / "no-such-candidate.so"
    job = sandbox.device_job(confined, tools.runner(tools.find()), shell, [], env={"PATH": "/usr/bin:/bin"}, fds=())
    begin = job.argv.index("--")
    argv = [*job.argv[: begin + 1], "/bin/sh", "-c", SCRIPT, "sh", str(secret)]
    done = subprocess.run(argv, env=job.env, capture_output=True, text=True, timeout=20)
    assert "Landlock" not in done.stderr, done.stderr
    said = done.stdout.split()
    assert said[0] == (str(sandbox.worker_uid()) if os.geteuid() == 0 else str(os.getuid()))
    assert "privileges 1" in done.stdout
    assert {"usr", "devices"} <= set(said)
    assert not {"secret", "read", "wrote"} & set(said)


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
