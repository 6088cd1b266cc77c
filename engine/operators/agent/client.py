"""The model client: one request in, one whole reply or one ModelFault out.

One rule: the engine owns every retry and every wait (`max_retries=0`), so none is invisible. The key
comes from the environment or the SDK's own chain of credentials and is never read here.

The SDK is given the body as bytes (wire.py) and gives the events as they came: it would copy and encode the whole
conversation for each request, and make an object of each event that is taken apart again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from engine.operators.agent.faults import ModelFault, classify
from engine.operators.agent.reply import Assembly, Reply, Usage
from engine.operators.agent.sdk import Message, MessageTokensCount, anthropic
from engine.operators.agent.wire import Wire
from engine.record.config import ModelConfig

CACHE = {"type": "ephemeral", "ttl": "1h"}
IDLE_S = 300.0
STILL_S = 900.0  # a stream that only pings is alive for the transport, and may bring nothing for ever
ASIDE_S = 15.0
_MESSAGES, _COUNT = "/v1/messages", "/v1/messages/count_tokens"
_REPLY = re.compile(r"max_tokens: \d+ > (\d+)")
NO_KEY = "no key for the model: set ANTHROPIC_API_KEY, or run with --operator playbook"


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: everything that the cached prefix consists of, and the conversation."""

    model: str
    system: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a server says of a model, in tokens: its window and its longest reply; None where it does not say."""

    window: int | None = None
    reply: int | None = None


@dataclass(slots=True)
class ModelClient:
    """A connection to one server that speaks the Messages API.

    `left_out` names optional parameters that this server does not know, `most_reply` the longest reply that it
    gives; both are learned from its refusals.
    """

    config: ModelConfig
    idle_s: float = IDLE_S
    still_s: float = STILL_S
    connect_s: float = 10.0
    left_out: set[str] = field(default_factory=set)
    most_reply: int | None = None
    _api: anthropic.AsyncAnthropic | None = None
    _wire: Wire = field(default_factory=Wire)

    @property
    def where(self) -> str:
        """The server, in words."""
        base = str(self._api.base_url) if self._api is not None else self.config.base_url
        return urlsplit(base).netloc or base or "the model's server"

    async def send(
        self,
        request: Request,
        *,
        words: Callable[[str], None] = lambda _: None,
        spent: Callable[[Usage], object] = lambda _: None,
        strict: bool = True,
    ) -> Reply:
        """Stream one reply. `words` gets the whole text so far, `spent` what the call cost, however it ends."""
        assembly = Assembly(strict)
        try:
            await self._stream(request, assembly, words)
            return assembly.reply()
        except Exception as error:
            raise self._learned(classify(error, self.where, request.model)) from error
        finally:
            if (usage := assembly.usage()) is not None:
                spent(usage)

    async def _stream(self, request: Request, assembly: Assembly, words: Callable[[str], None]) -> None:
        body = self._wire.body({**self._arguments(request), "stream": True}, request.messages)
        api, events = self.connect(), anthropic.AsyncStream[object]
        async with (
            await api.post(_MESSAGES, content=body, cast_to=Message, stream=True, stream_cls=events) as stream,
            asyncio.timeout(self.still_s) as limit,
        ):
            clock, looked = asyncio.get_running_loop().time, 0.0
            async for event in stream:
                if (now := clock()) - looked >= self.still_s / 100:  # moving a timer costs more than the event does
                    looked = now
                    limit.reschedule(now + self.still_s)
                if assembly.feed(event):
                    words(assembly.text)

    async def count(self, request: Request) -> int | None:
        """How many input tokens a request has; None when the server does not say."""
        given = {k: v for k, v in self._arguments(request).items() if k != "max_tokens"}
        options = anthropic.RequestOptions(timeout=ASIDE_S)
        try:
            body = self._wire.body(given, request.messages)
            counted = await self.connect().post(_COUNT, content=body, cast_to=MessageTokensCount, options=options)
        except (anthropic.AnthropicError, httpx2.HTTPError, ValueError, TypeError):
            return None
        return int(counted.input_tokens)

    async def prove(self) -> None:
        """See that the server takes the key. Whatever else is wrong waits for the first real request."""
        api = self.connect()
        try:
            await api.models.retrieve(self.config.name, timeout=ASIDE_S)
        except (anthropic.AuthenticationError, anthropic.PermissionDeniedError) as error:
            raise classify(error, self.where, self.config.name) from error
        except (anthropic.AnthropicError, httpx2.HTTPError, ValueError, TypeError):
            return

    async def told(self, model: str) -> Told:
        """What the server says of a model."""
        try:
            about = await self.connect().models.retrieve(model, timeout=ASIDE_S)
        except (anthropic.AnthropicError, httpx2.HTTPError, ValueError, TypeError):
            return Told()
        return Told(_positive(about, "max_input_tokens"), _positive(about, "max_tokens"))

    async def close(self) -> None:
        """Close the connections."""
        if self._api is not None:
            await self._api.close()
            self._api = None

    def connect(self) -> anthropic.AsyncAnthropic:
        """The SDK's client, made on first use; raises ModelFault when there is no key for the server."""
        if self._api is None:
            timeout = httpx2.Timeout(self.idle_s, connect=self.connect_s, read=self.idle_s)
            options: dict[str, Any] = {"max_retries": 0, "timeout": timeout}
            if self.config.base_url:
                options["base_url"] = self.config.base_url
            try:
                api = anthropic.AsyncAnthropic(**options)
                if not _has_credentials(api):
                    if not _loopback(self.config.base_url):
                        raise ModelFault("stop", NO_KEY)
                    api = anthropic.AsyncAnthropic(**options, api_key="local")
            except anthropic.AnthropicError as error:
                raise ModelFault("stop", f"no usable key for the model: {error}") from error
            self._api = api
        return self._api

    def _arguments(self, request: Request) -> dict[str, Any]:
        given: dict[str, Any] = {
            "model": request.model,
            "max_tokens": min(request.max_tokens, self.most_reply or request.max_tokens),
            "system": list(request.system),
        }
        if request.tools:
            given["tools"] = list(request.tools)
        if "cache_control" not in self.left_out:
            given["system"] = [*request.system[:-1], {**request.system[-1], "cache_control": CACHE}]
            given["cache_control"] = CACHE
        if self.config.thinking and "thinking" not in self.left_out:
            given["thinking"] = _thinking(self.config.thinking)
        if self.config.effort and "output_config" not in self.left_out:
            given["output_config"] = {"effort": self.config.effort}
        return given

    def _learned(self, fault: ModelFault) -> ModelFault:
        """A refusal that names an optional parameter, or the longest reply: heed it from now on, and ask again."""
        if fault.action == "stop" and (named := _REPLY.search(str(fault))) and self.most_reply is None:
            self.most_reply = max(1, int(named[1]))
            return ModelFault("wait", f"{fault}; asking again for shorter replies", retry_after_s=0.0)
        name = "output_config" if fault.extra == "effort" else fault.extra
        if fault.action != "stop" or not name or name in self.left_out:
            return fault
        self.left_out.add(name)
        return ModelFault("wait", f"{fault}; asking again without {name!r}", retry_after_s=0.0)


def _thinking(kind: str) -> dict[str, str]:
    """With `display` unset, newer models send their words between tool calls as empty thinking blocks."""
    return {"type": kind, "display": "summarized"} if kind == "adaptive" else {"type": kind}


def _positive(about: Any, name: str) -> int | None:
    found = getattr(about, name, None)
    return found if isinstance(found, int) and found > 0 else None


def _loopback(base_url: str) -> bool:
    return (urlsplit(base_url).hostname or "") in {"127.0.0.1", "localhost", "::1"}


def _has_credentials(api: anthropic.AsyncAnthropic) -> bool:
    return any(getattr(api, name, None) for name in ("api_key", "auth_token", "credentials"))
