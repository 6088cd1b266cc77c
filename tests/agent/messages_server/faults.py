"""The faults a server can play, one for each row of the failure matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "status",  # an error status with the API's JSON body
    "html",  # an error status with a proxy's HTML page
    "slow",  # no headers until the client gives up
    "refuse",  # the connection is closed before a byte of the answer
    "reset",  # RST in mid-stream, after `after` events
    "cut",  # the connection ends in mid-stream without the end of the body
    "eof",  # the stream ends cleanly, but before message_stop
    "stall",  # the stream stops moving
    "pings",  # the stream goes on, with nothing but pings
    "error_event",  # `event: error` inside a 200
    "empty",  # a 200 without a single event
    "bad_json",  # an event whose data is not JSON
    "odd_event",  # an event that is JSON, and of another shape
]
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken answer. `after` counts events for faults in mid-stream; None is just before the end."""

    kind: Kind
    status: int = 200
    type: str = ""
    message: str = "played by the test"
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = 2

    @property
    def in_stream(self) -> bool:
        """Whether the reply begins before it breaks."""
        return self.kind in {"reset", "cut", "eof", "stall", "pings", "error_event", "bad_json", "odd_event"}

    def body(self, request_id: str) -> dict[str, Any]:
        """The API's error body."""
        kind = self.type or TYPES.get(self.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": self.message}, "request_id": request_id}


def status(code: int, message: str = "played by the test", **headers: str) -> Fault:
    """An error status; header names are given with underscores."""
    return Fault("status", code, message=message, headers={k.replace("_", "-"): v for k, v in headers.items()})
