"""The CUDA driver without torch: which device is meant, and how to wake it while torch is still imported."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache


@cache
def wake() -> bool:
    """Retain the first visible device's primary context, which torch then finds ready. False where there is none.

    CUDA Driver API, sections 6.2 (cuInit), 6.5 (cuDeviceGet) and 6.7 (cuDevicePrimaryCtxRetain). What fails here fails
    again in torch, which says why.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    device, context = ctypes.c_int(), ctypes.c_void_p()
    return bool(
        driver.cuInit(0) == 0
        and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
        and driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
    )


def same_device(environment: Mapping[str, str]) -> dict[str, str]:
    """What makes the judge's device the worker's: else it would run on the first one, through the other's memory."""
    return {k: v for k, v in environment.items() if k in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}
