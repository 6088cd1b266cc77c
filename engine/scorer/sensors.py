"""A GPU's clock, power and temperature, asked of its driver's own library (NVML) while figures are taken.

One rule: they are recorded beside the figures and decide nothing. Where the library, the device or one sensor is
missing, that is None, and everything goes on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import asdict

from engine.record.frozen import dataclass

LIBRARY = "libnvidia-ml.so.1"
# Numbers of the NVML reference: nvmlClockType_t NVML_CLOCK_SM, nvmlTemperatureSensors_t NVML_TEMPERATURE_GPU.
_CLOCK_SM, _TEMPERATURE_GPU = 1, 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What the sensors said at one moment; the driver averages the power over up to a second."""

    clock_mhz: float | None
    power_w: float | None
    temperature_c: float | None


class Sensors:
    """The sensors of the GPU with a UUID ("GPU-..."), as `nvidia-smi -L` and torch's device properties name it."""

    def __init__(self, uuid: str, library: str = LIBRARY) -> None:
        self._device = ctypes.c_void_p()
        try:
            self._nvml: ctypes.CDLL | None = ctypes.CDLL(library)
            found = self._nvml.nvmlInit_v2() or self._nvml.nvmlDeviceGetHandleByUUID(
                uuid.encode(), ctypes.byref(self._device)
            )
        except (OSError, AttributeError):  # no driver here, or one without these functions
            found = -1
        if found:
            self._nvml = None

    def read(self) -> Reading | None:
        """The sensors now; takes well below a millisecond. None without a device."""
        if self._nvml is None:
            return None
        milliwatts = self._number("nvmlDeviceGetPowerUsage")
        return Reading(
            clock_mhz=self._number("nvmlDeviceGetClockInfo", _CLOCK_SM),
            power_w=None if milliwatts is None else milliwatts / 1e3,
            temperature_c=self._number("nvmlDeviceGetTemperature", _TEMPERATURE_GPU),
        )

    def _number(self, function: str, *kind: int) -> float | None:
        value = ctypes.c_uint()
        failed: int = getattr(self._nvml, function)(self._device, *kind, ctypes.byref(value))
        return None if failed else float(value.value)


def columns(readings: Sequence[Reading | None]) -> dict[str, list[float | None]]:
    """Readings by sensor, in their order: {"clock_mhz": [...], ...}; empty when there was none at all."""
    if not any(readings):
        return {}
    rows = [asdict(r or Reading(None, None, None)) for r in readings]
    return {name: [row[name] for row in rows] for name in rows[0]}
