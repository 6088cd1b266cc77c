"""What went wrong with a model call, and what the loop does about it: the failure matrix as a function.

One rule: every way a call can fail becomes a ModelFault with one action, so that the loop has four
cases and not forty: wait and ask again, ask again at once (a broken reply), make room, or stop.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx2

from engine.operators.agent.sdk import anthropic
from engine.record.events import clip
from engine.record.frozen import dataclass

Action = Literal["wait", "resend", "room", "stop"]
_RETRIED = frozenset({408, 409, 425, 429})
_TEMPORARY = frozenset({"overloaded_error", "rate_limit_error", "api_error", "timeout_error"})
_TOO_LONG = re.compile(
    r"prompt is too long|context[ _](window|length|limit)|too many (input )?tokens|exceeds? the (max|limit)", re.I
)
# What a server says of a conversation that it will never take again, whoever asks: only a new one helps.
_HISTORY = re.compile(
    r"\Amessages(\.\d+|:)|signature|thinking.{0,40}(cannot be modified|must remain)|when thinking is (dis|en)abled",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before asking again: `base_s` doubled for each failure in a row, at most `cap_s`."""

    base_s: float = 2.0
    cap_s: float = 300.0
    spread: float = 0.25

    def seconds(self, failures: int, retry_after_s: float | None) -> float:
        """The server's own wish when it named one; else doubling, spread by a quarter."""
        if retry_after_s is not None:
            return max(0.0, retry_after_s)
        wait = min(self.cap_s, self.base_s * 2.0 ** min(failures, 20))
        return wait * random.uniform(1 - self.spread, 1 + self.spread)


class ModelFault(Exception):
    """A model call that gave no usable reply. `str()` says why, for a person.

    The action `room` marks a request that does not fit, or whose history the server no longer takes: a new epoch is
    the cure. `bad_call` holds for a tool call whose JSON cannot be read; `extra` names an optional parameter that the
    server does not know.
    """

    def __init__(
        self,
        action: Action,
        reason: str,
        *,
        retry_after_s: float | None = None,
        bad_call: bool = False,
        extra: str = "",
    ) -> None:
        super().__init__(reason)
        self.action: Action = action
        self.retry_after_s = retry_after_s
        self.bad_call = bad_call
        self.extra = extra


def classify(error: Exception, where: str, model: str) -> ModelFault:
    """The fault behind an exception of the SDK or its transport."""
    if isinstance(error, ModelFault):
        return error
    if isinstance(error, anthropic.APIStatusError):
        return _status(error, where, model)
    if isinstance(error, anthropic.APITimeoutError):
        return ModelFault("wait", f"{where} did not answer in time")
    if isinstance(error, anthropic.APIConnectionError):
        return ModelFault("wait", f"no connection to {where}: {_cause(error)}")
    if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
        return ModelFault("resend", "the reply stopped moving")
    if isinstance(error, httpx2.HTTPError):
        return ModelFault("resend", f"the reply broke off: {_cause(error)}")
    if isinstance(error, (AssertionError, json.JSONDecodeError, ValueError, RuntimeError, IndexError, KeyError)):
        return ModelFault("resend", f"the reply was malformed: {clip(str(error) or type(error).__name__)}")
    return ModelFault("stop", f"the model's client failed: {type(error).__name__}: {clip(str(error))}")


def _status(error: anthropic.APIStatusError, where: str, model: str) -> ModelFault:
    code, kind, said = error.status_code, str(error.type or ""), message_of(error)
    wish = _retry_after(error.response.headers)
    if code == 413 or ((code == 400 or kind == "invalid_request_error") and _TOO_LONG.search(said)):
        return ModelFault("room", f"the request does not fit the model: {said}")
    if code == 400 and _HISTORY.search(said):
        return ModelFault("room", f"the server no longer takes this history: {said}")
    if code in _RETRIED or code >= 500 or kind in _TEMPORARY or error.response.headers.get("x-should-retry") == "true":
        return ModelFault("wait", f"{where} is {_trouble(code, kind)}: {said}", retry_after_s=wish)
    return ModelFault("stop", _refusal(code, said, where, model), extra=_unknown_parameter(code, said))


def _trouble(code: int, kind: str) -> str:
    if code == 429 or kind == "rate_limit_error":
        return "limiting the rate (429)"
    if code == 529 or kind == "overloaded_error":
        return "overloaded (529)"
    return f"in trouble ({code if code != 200 else kind})"


def _refusal(code: int, said: str, where: str, model: str) -> str:
    if code == 401:
        return f"{where} does not accept the key (401: {said}); set ANTHROPIC_API_KEY and resume the run"
    if code == 402:
        return f"{where} asks for payment (402: {said}); settle the account and resume the run"
    if code == 403:
        return f"{where} forbids this (403: {said}); check what the key may do and resume the run"
    if code == 404:
        return f"{where} has no model {model!r} (404: {said}); choose one with --model, or check --base-url"
    return f"{where} refused the request ({code}: {said}); the request is in the run's agent/ folder"


def _unknown_parameter(code: int, said: str) -> str:
    """The optional parameter that a server does not know, so that it can be left out: thinking, effort, caching."""
    if code != 400:
        return ""
    return next((name for name in ("thinking", "output_config", "effort", "cache_control") if name in said), "")


def message_of(error: anthropic.APIStatusError) -> str:
    """The server's own sentence, without the envelope."""
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else None
    return clip(str(said or error.message or type(error).__name__))


def _retry_after(headers: httpx2.Headers) -> float | None:
    """The server's wish in seconds: a number or a date. What is neither, or not finite, is no wish."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wish = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(wish):
            return wish
    try:
        return parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
    except (KeyError, ValueError):
        return None


def _cause(error: Exception) -> str:
    return clip(str(error.__cause__ or error) or type(error).__name__)
