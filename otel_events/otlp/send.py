"""Senders: one request to one endpoint, and what its answer means for the batch.

Which answers are worth another try is the OTLP specification's to say (protocol/otlp.md, "Failures"); the two tables
here and in grpc.py hold it. A sender never raises for what the other side does or fails to do: it returns a Result.
"""

from __future__ import annotations

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
from otel_events.otlp.quiet import quiet_grpc

MAX_ANSWER = 1 << 16
"""Bytes of an answer's body that are read; an OTLP answer has a few hundred."""
MAX_AFTER = 3600.0
"""Seconds that an answer can make us wait at most."""
_MAX_REASON = 300
PARTLY: dict[Signal, tuple[Any, str]] = {
    "traces": (ExportTraceServiceResponse, "rejected_spans"),
    "metrics": (ExportMetricsServiceResponse, "rejected_data_points"),
    "logs": (ExportLogsServiceResponse, "rejected_log_records"),
}
"""signal -> (message of a good answer, its count of items that were not taken)."""


class Result(msgspec.Struct, frozen=True):
    """What became of one request. Only ``ok`` and ``refused`` (never worth sending again) let a batch go."""

    outcome: Literal["ok", "retry", "refused"]
    reason: str = ""
    after: float | None = None
    """Seconds that the endpoint asks to wait before the next try; None: it does not say."""
    rejected: int = 0
    """Items of an ``ok`` batch that were not taken (partial_success)."""
    message: str = ""
    """What the endpoint says to an ``ok``, if anything."""


class Sender(Interface):
    """Sends the payloads of one signal to one place."""

    signal: Signal
    timeout: float
    """Seconds for one request."""

    def send(self, payload: bytes, deadline: float) -> Result:
        """One try, over at ``deadline`` (of the clock's ``monotonic()``, seconds)."""

    def close(self) -> None:
        """Let go of sockets; a ``send`` under way ends soon. From any thread."""

    def after_fork(self) -> None:
        """In the child: forget the parent's sockets without a word on them."""


class Clock(Interface):
    """Time as sending needs it; testing.FakeClock is one that stands still."""

    def monotonic(self) -> float: ...

    def time(self) -> float: ...

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait on the held ``condition``, for so long at most (None: for ever)."""


class SystemClock:
    """The machine's own time."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    @staticmethod
    def wait(condition: threading.Condition, seconds: float | None) -> None:
        condition.wait(seconds)


def sender(endpoint: Endpoint, clock: Clock | None = None) -> Sender:
    """The sender that the endpoint's protocol asks for. ConfigError for a certificate that cannot be used."""
    if endpoint.protocol == "grpc":
        with quiet_grpc():
            from otel_events.otlp.grpc import GrpcSender  # only who uses gRPC loads it

        return GrpcSender(endpoint, clock or SystemClock())
    from otel_events.otlp.http import HttpSender

    return HttpSender(endpoint, clock or SystemClock())


class Told(NamedTuple):
    """What a google.rpc.Status says."""

    message: str = ""
    after: float | None = None


def taken(signal: Signal, body: bytes) -> Result:
    """The Result of a good answer with that body, which may tell of items that were not taken."""
    message, rejected = PARTLY[signal]
    try:
        partly = message.FromString(body).partial_success
    except DecodeError:  # a good status stands; some answer JSON, or a page
        return Result("ok")
    return Result("ok", rejected=max(0, getattr(partly, rejected)), message=clip(partly.error_message))


def told(body: bytes) -> Told:
    """Message and RetryInfo of an encoded google.rpc.Status; nothing if it is none."""
    try:
        status = Status.FromString(body)
        return Told(clip(status.message), next(map(_delay, status.details), None))
    except DecodeError:
        return Told()


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
    return min(max(seconds, 0.0), MAX_AFTER) if seconds == seconds else 0.0


def clip(text: str) -> str:
    """Text from the other side, fit for a log line: printable, one line, not long."""
    whole = "".join(character if character.isprintable() else " " for character in text[: _MAX_REASON + 1])
    return whole if len(whole) <= _MAX_REASON else whole[: _MAX_REASON - 3] + "..."


def redact(text: str, endpoint: Endpoint) -> str:
    """``text`` without the values of the endpoint's headers, should the other side repeat them."""
    for secret in endpoint.headers.values():
        if secret.reveal():
            text = text.replace(secret.reveal(), "***")
    return text


def read_file(path: str, endpoint: Endpoint, setting: str) -> bytes | None:
    """Bytes of a certificate or key, None for ""; ConfigError names the variable."""
    try:
        return Path(path).read_bytes() if path else None
    except OSError as failed:
        raise certificate_error(path, endpoint, setting, failed.strerror or "cannot be read") from None


def certificate_error(path: str, endpoint: Endpoint, setting: str, why: str) -> ConfigError:
    name = f"{PREFIX}{setting} (or {PREFIX}{endpoint.signal.upper()}_{setting})"
    return ConfigError(f"{name}: {path!r}: {why}; name a PEM file that this process can read")
