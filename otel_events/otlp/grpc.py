"""OTLP over gRPC: one channel, payloads as they are (bytes in, bytes out)."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types

from otel_events.model.version import version
from otel_events.otlp.config import Endpoint, Signal
from otel_events.otlp.send import (
    MAX_ANSWER,
    Clock,
    Result,
    StatusDetails,
    clip,
    delay,
    read_file,
    redact,
    status_details,
    success,
)

METHODS: dict[Signal, str] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_code = grpc.StatusCode
RETRYABLE = frozenset(
    {_code.CANCELLED, _code.DEADLINE_EXCEEDED, _code.ABORTED, _code.OUT_OF_RANGE, _code.UNAVAILABLE, _code.DATA_LOSS}
)
"""Codes worth another try; so is RESOURCE_EXHAUSTED with a RetryInfo. Every other one is a refusal for good."""

_OPTIONS = (
    ("grpc.primary_user_agent", f"otel-events/{version()}"),
    ("grpc.max_receive_message_length", MAX_ANSWER),
    ("grpc.max_send_message_length", -1),
    # The exporter decides when to try again; the channel must not wait longer than the exporter does.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_FORKED = (
    "gRPC cannot be used in a process that was forked after its first use: "
    "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf for processes that fork"
)


class GrpcSender:
    """Sends the payloads of one signal to one target (``send.Sender``)."""

    def __init__(self, endpoint: Endpoint, clock: Clock) -> None:
        self.signal, self.timeout = endpoint.signal, endpoint.timeout
        self._endpoint, self._clock = endpoint, clock
        self._metadata = tuple((name, value.reveal()) for name, value in endpoint.headers.items())
        self._credentials = _credentials(endpoint) if endpoint.secure else None
        self._channel: Any = None
        self._call: Any = None
        self._inherited: Any = None

    def _open(self) -> None:
        address, gzip = self._endpoint.address, self._endpoint.compression == "gzip"
        how = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        if self._credentials is None:
            self._channel = grpc.insecure_channel(address, _OPTIONS, how)
        else:
            self._channel = grpc.secure_channel(address, self._credentials, _OPTIONS, how)
        self._call = self._channel.unary_unary(METHODS[self.signal])

    def send(self, payload: bytes, deadline: float) -> Result:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            return Result("retry", "no time left to send")
        if self._inherited:
            return Result("retry", _FORKED)
        if self._channel is None:
            self._open()
        try:
            return success(self.signal, self._call(payload, timeout=left, metadata=self._metadata))
        except grpc.RpcError as error:
            return self._refusal(error)
        except ValueError as closed:  # the channel, by close() in another thread
            return Result("retry", clip(str(closed)))

    def _refusal(self, error: Any) -> Result:
        code, trailing = error.code(), dict(error.trailing_metadata() or ())
        message, after = _details(trailing)
        reason = redact(clip(f"gRPC {code.name} {message or error.details() or ''}".strip()), self._endpoint)
        again = code in RETRYABLE or (code is _code.RESOURCE_EXHAUSTED and after is not None)
        return Result("retry", reason, after) if again else Result("refused", reason)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def after_fork(self) -> None:
        # Calls on a new channel hang in such a child as well (grpcio 1.85, with its fork support off), and to close the
        # parent's may too. With fork support on, the child can hang in os.fork itself: not ours to turn on.
        self._inherited = self._inherited or self._channel
        self._channel = self._call = None


def _details(trailing: dict[str, Any]) -> StatusDetails:
    """Message and delay of the rich error model (grpc-status-details-bin), or of a bare RetryInfo, which some servers
    send instead."""
    details = status_details(trailing.get("grpc-status-details-bin", b""))
    bare = trailing.get("google.rpc.retryinfo-bin")
    if details.after is not None or bare is None:
        return details
    try:
        return StatusDetails(details.message, delay(RetryInfo.FromString(bare)))
    except DecodeError:
        return details


def _credentials(endpoint: Endpoint) -> Any:
    return grpc.ssl_channel_credentials(
        root_certificates=read_file(endpoint.certificate, endpoint, "CERTIFICATE"),
        private_key=read_file(endpoint.client_key, endpoint, "CLIENT_KEY"),
        certificate_chain=read_file(endpoint.client_certificate, endpoint, "CLIENT_CERTIFICATE"),
    )
