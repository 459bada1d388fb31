"""The factory of senders: which one the protocol of an endpoint asks for."""

from __future__ import annotations

from otel_events.otlp.config import Endpoint
from otel_events.otlp.http import HttpSender
from otel_events.otlp.quiet import quiet_grpc
from otel_events.otlp.send import Clock, Sender, SystemClock


def sender(endpoint: Endpoint, clock: Clock | None = None) -> Sender:
    """The sender for an endpoint.

    Args:
        endpoint: Where and how to send; one of ``from_env(os.environ).endpoints``.
        clock: Time as sending needs it; the machine's own by default.

    Returns:
        A sender over the endpoint's protocol. It connects when it first sends.

    Raises:
        ConfigError: A certificate or key cannot be used.

    Example:
        >>> from otel_events.otlp import from_env
        >>> http = from_env({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
        >>> sender(http.endpoints["traces"]).signal
        'traces'
    """
    clock = clock or SystemClock()
    if endpoint.protocol != "grpc":
        return HttpSender(endpoint, clock)
    with quiet_grpc():
        # gRPC takes 10 MB of memory, which a process that sends over HTTP does not spend. Its log is set when it loads.
        from otel_events.otlp.grpc import GrpcSender
    return GrpcSender(endpoint, clock)
