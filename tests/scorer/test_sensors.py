"""Clock, power and temperature beside the figures: asked of the driver's library, or of our own stand-in for it."""

import subprocess
from dataclasses import asdict

import pytest

from avo_tui.commands.bench import felt
from engine.gate import Round
from engine.scorer.sensors import Reading, Sensors, columns

STAND_IN = r"""
#include <string.h>
int nvmlInit_v2(void) { return INIT; }
int nvmlDeviceGetHandleByUUID(const char* uuid, void** device) {
  *device = (void*)0x1234;
  return strcmp(uuid, "GPU-5a5a") ? 6 : 0; /* NVML_ERROR_NOT_FOUND */
}
int nvmlDeviceGetClockInfo(void* device, int kind, unsigned* value) {
  *value = 1573;
  return device != (void*)0x1234 || kind != 1;
}
int nvmlDeviceGetPowerUsage(void* device, unsigned* value) {
  *value = 692030;
  return device != (void*)0x1234;
}
int nvmlDeviceGetTemperature(void* device, int kind, unsigned* value) {
  *value = 58;
  return HEAT;
}
"""


@pytest.fixture
def library(tmp_path):
    def made(init: int = 0, heat: int = 0) -> str:
        source, target = tmp_path / "nvml.c", tmp_path / f"libnvml-{init}-{heat}.so"
        source.write_text(STAND_IN)
        options = ["-shared", "-fPIC", f"-DINIT={init}", f"-DHEAT={heat}"]
        subprocess.run(["gcc", *options, str(source), "-o", str(target)], check=True)
        return str(target)

    return made


def test_the_sensors_are_those_of_the_named_device_in_megahertz_watts_and_degrees(library):
    assert Sensors("GPU-5a5a", library()).read() == Reading(1573.0, 692.03, 58.0)


def test_a_sensor_that_is_missing_is_none_and_the_others_are_read(library):
    assert Sensors("GPU-5a5a", library(heat=3)).read() == Reading(1573.0, 692.03, None)


def test_no_library_no_driver_and_no_such_device_are_no_sensors(library, tmp_path):
    assert Sensors("GPU-5a5a", str(tmp_path / "absent.so")).read() is None
    assert Sensors("GPU-5a5a", library(init=9)).read() is None
    assert Sensors("GPU-0000", library()).read() is None
    assert Sensors("GPU-5a5a", "libm.so.6").read() is None  # a library without these functions


def test_a_bench_tells_the_range_of_each_sensor_and_nothing_where_there_are_none():
    rounds = [{"sensors": {"clock_mhz": [1573.0, 1980.0], "power_w": [692.4, None]}}, {"sensors": {"power_w": [120.1]}}]
    assert felt(rounds) == ["device after each configuration: 1573 to 1980 MHz, 120 to 692 W"]
    assert felt([{"sensors": {}}, {}]) == []


def test_readings_travel_with_their_round():
    sensors = columns([Reading(1980.0, 120.5, 34.0), None, Reading(1573.0, 692.0, None)])
    assert sensors["clock_mhz"] == [1980.0, None, 1573.0]
    assert columns([None, None]) == {}
    told = {"order": [0, 1], "latency_us": [[1.0], [1.0]], "failures": [None, None], "seconds": 1.0, "sensors": sensors}
    assert asdict(Round.from_json(told))["sensors"] == sensors
    assert Round.from_json({**told, "sensors": None}).sensors == {}
