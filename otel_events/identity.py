"""Trace and span ids from natural keys (law 2): any process, at any time, finds the context of any run.

    trace_id = blake2b-128(source, namespace, root id)
    span_id  = blake2b-64(source, namespace, run id, attempt, kind)

The parts are joined with NUL bytes. All-zero ids are invalid in W3C trace context, so a zero digest becomes one.
"""

from __future__ import annotations

from hashlib import blake2b

_SEPARATOR = "\0"
_ONE_TRACE, _ONE_SPAN = (1).to_bytes(16, "big"), (1).to_bytes(8, "big")
_FLYTE2_PERSON = b"flyte.otel.run.v"


def trace_id(source: str, namespace: str, root: str) -> bytes:
    """16 bytes, never zero. A Flyte 2 root (``org/project/domain/name``) gives the id that flyteplugins-otel derives."""
    if source == "flyte" and root.count("/") == 3:
        return flyte2_trace_id(*root.split("/"))
    key = _SEPARATOR.join((source, namespace, root)).encode("utf-8", "replace")
    return blake2b(key, digest_size=16).digest().replace(bytes(16), _ONE_TRACE)


def span_id(source: str, namespace: str, run: str, attempt: int, kind: str) -> bytes:
    """8 bytes, never zero; of one attempt of one run."""
    key = _SEPARATOR.join((source, namespace, run, str(attempt), kind)).encode("utf-8", "replace")
    return blake2b(key, digest_size=8).digest().replace(bytes(8), _ONE_SPAN)


def flyte2_trace_id(org: str, project: str, domain: str, name: str) -> bytes:
    """16 bytes, as the Flyte 2 SDK's own OpenTelemetry plugin derives them (flyteplugins-otel 2.12.1, ``_ids.py``)."""
    key = _SEPARATOR.join((org, project, domain, name)).encode()
    return blake2b(key, digest_size=16, person=_FLYTE2_PERSON).digest().replace(bytes(16), _ONE_TRACE)


def traceparent(trace: bytes, span: bytes, sampled: bool = True) -> str:
    """W3C traceparent of a context, version 00."""
    return f"00-{trace.hex()}-{span.hex()}-{'01' if sampled else '00'}"


def parse_traceparent(text: str) -> tuple[bytes, bytes] | None:
    """(trace id, span id) of a W3C traceparent, or None when it is not a valid one."""
    parts = text.strip().lower().split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0] == "ff" or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        trace, span = bytes.fromhex(parts[1]), bytes.fromhex(parts[2])
    except ValueError:
        return None
    return (trace, span) if any(trace) and any(span) else None
