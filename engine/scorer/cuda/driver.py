"""Wake the CUDA driver without torch: a context takes half a second to make, and torch's import can hide it."""

from __future__ import annotations

import ctypes
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
