"""What a sender is, and what the answer to a request means for the batch. The senders: http.py, grpc.py.

Which answers are worth another try is laid down in the OTLP specification (protocol/otlp.md, "Failures"); the tables
RETRYABLE of http.py and grpc.py follow it. A sender never raises for what the other side does or fails to do: it
returns a Result.
"""

from __future__ import annotations

import math
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from typing import Protocol as Interface

import msgspec
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_events.model.errors import ConfigError
from otel_events.otlp.config import PREFIX, Endpoint, Signal

MAX_ANSWER = 1 << 16
"""Bytes of an answer's body that are read; an OTLP answer has a few hundred."""
MAX_AFTER = 3600.0
"""Longest wait, in seconds, that an answer can ask for."""
_MAX_REASON = 300
"""Characters of an endpoint's text that are kept."""
PARTLY: dict[Signal, tuple[Any, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
"""signal -> (message of a good answer, its count of rejected items)."""


class Result(msgspec.Struct, frozen=True):
    """The result of one request. After ``ok`` and ``refused`` a batch is done; ``retry`` asks for another try."""

    outcome: Literal["ok", "retry", "refused"]
    reason: str = ""
    after: float | None = None
    """Seconds that the endpoint asks to wait before the next try; None: it does not say."""
    rejected: int = 0
    """Items of an ``ok`` batch that the endpoint rejected (partial_success)."""
    message: str = ""
    """The endpoint's remark on an ``ok``; "" for none."""


class Sender(Interface):
    """Sends the payloads of one signal to one place."""

    signal: Signal
    timeout: float
    """Seconds for one request."""

    def send(self, payload: bytes, deadline: float) -> Result:
        """Send one request; it ends by ``deadline`` (seconds of the clock's ``monotonic()``)."""

    def close(self) -> None:
        """Close the sockets; a ``send`` under way ends soon. From any thread."""

    def after_fork(self) -> None:
        """In a forked child: drop the parent's sockets without sending anything on them."""


class Clock(Interface):
    """Time as sending needs it; testing.FakeClock is one that stands still."""

    def monotonic(self) -> float: ...

    def time(self) -> float: ...

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on the held ``condition`` for at most so many seconds (None: for ever)."""


class SystemClock:
    """The machine's own time."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(seconds)


class StatusDetails(NamedTuple):
    """What a google.rpc.Status says."""

    message: str = ""
    after: float | None = None
    """Seconds to wait before the next try; None: it does not say."""


def success(signal: Signal, body: bytes) -> Result:
    """The Result of a good answer with that body, which may name items that were rejected (partial_success)."""
    message, rejected = PARTLY[signal]
    try:
        partial = message.FromString(body).partial_success
    except DecodeError:  # the good status counts: some endpoints answer with JSON or an HTML page
        return Result("ok")
    return Result("ok", rejected=max(0, getattr(partial, rejected)), message=clip(partial.error_message))


def status_details(body: bytes) -> StatusDetails:
    """Message and RetryInfo of an encoded google.rpc.Status; empty where the body is none."""
    try:
        status = Status.FromString(body)
        return StatusDetails(clip(status.message), next(map(_delay, status.details), None))
    except DecodeError:
        return StatusDetails()


def _delay(detail: Any) -> float | None:
    info = RetryInfo()
    return delay(info) if detail.Unpack(info) else None


def delay(info: Any) -> float:
    """Seconds of a RetryInfo, within bounds."""
    return _bounded(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def retry_after(value: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110, 10.2.3); None if neither."""
    try:
        return _bounded(float(value))
    except ValueError:
        pass
    try:
        return _bounded(parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float:
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), MAX_AFTER)


def clip(text: str) -> str:
    """Text from the other side, fit for a log line: printable, one line, at most 300 characters."""
    whole = "".join(character if character.isprintable() else " " for character in text[: _MAX_REASON + 1])
    return whole if len(whole) <= _MAX_REASON else whole[: _MAX_REASON - 3] + "..."


def redact(text: str, endpoint: Endpoint) -> str:
    """``text`` without the values of the endpoint's headers, which an answer may repeat."""
    for secret in endpoint.headers.values():
        if secret.reveal():
            text = text.replace(secret.reveal(), "***")
    return text


def read_file(path: str, endpoint: Endpoint, setting: str) -> bytes | None:
    """Bytes of a certificate or key, None for the path "".

    Raises:
        ConfigError: The file cannot be read; names the variable of ``setting``.
    """
    try:
        return Path(path).read_bytes() if path else None
    except OSError as failed:
        raise certificate_error(path, endpoint, setting, failed.strerror or "cannot be read") from None


def certificate_error(path: str, endpoint: Endpoint, setting: str, why: str) -> ConfigError:
    """The error for a certificate or key that cannot be used; ``setting`` is the end of its variable's name."""
    name = f"{PREFIX}{setting} (or {PREFIX}{endpoint.signal.upper()}_{setting})"
    return ConfigError(f"{name}: {path!r}: {why}; name a PEM file that this process can read")
