"""torch takes seconds to import, so a thread imports it while the sandbox is attacked, a device wakes up or a candidate
is built, and only where it is needed: a CUDA device, a baseline, a reference.py that the compiled truth was not yet
compared with. One rule: what needs torch is imported after `TORCH.wait`, never at the top of what the CPU judge needs.
"""

from __future__ import annotations

import gc
import importlib
import threading

from engine.record.errors import ScorerError


class Importing:
    """The import of torch, under way from `begin`."""

    def __init__(self) -> None:
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Import it, unless that has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._import, name="import torch")
            self._thread.start()

    def _import(self) -> None:
        gc.disable()  # a million objects are made and none of them is garbage: a sixth of the time
        try:
            importlib.import_module("torch")
        except BaseException as error:  # a broken library may raise anything, and it belongs to who waits
            self._failure = error
        finally:
            gc.enable()

    def settle(self) -> None:
        """Return when no import is under way: it would take a core from what is to be measured."""
        if self._thread is not None:
            self._thread.join()

    def wait(self) -> None:
        """Return when torch is there. Raises ScorerError, one line, when it cannot be imported."""
        self.begin()
        assert self._thread is not None
        self._thread.join()
        if self._failure is not None:
            said = " ".join(str(self._failure).split()) or type(self._failure).__name__
            raise ScorerError(f"torch cannot be imported: {said}; install it (pip install torch)") from self._failure


TORCH = Importing()
