"""Trace and span ids from natural keys (law 2): any process, at any time, finds the context of any run.

    trace_id = blake2b-128(source, namespace, root id)
    span_id  = blake2b-64(source, namespace, run id, attempt, kind)

The parts are joined with NUL bytes, as UTF-8 (a lone surrogate as its three bytes: other keys, other ids). All-zero ids
are invalid in W3C trace context, so a zero digest becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from otel_events.model.declared import traits_of

_SEPARATOR = "\0"
_ONE_TRACE, _ONE_SPAN = (1).to_bytes(16, "big"), (1).to_bytes(8, "big")
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
"""W3C Trace Context level 1, 3.2: lower-case hex; version ff is invalid; only later versions than 00 may say more."""


# Each run asks for its root's and its parent's ids again and again: a hit costs a tenth of a digest.
@lru_cache(maxsize=8192)
def trace_id(source: str, namespace: str, root: str) -> bytes:
    """The trace id of a root run and all runs below it.

    Args:
        source: Name of the source. Where it declares how its own SDK derives trace ids (``Traits.trace_id``), ours are
            the same, so that both make one trace.
        namespace: Namespace of the root.
        root: Id of the root.

    Returns:
        16 bytes, never all zero.

    >>> trace_id("events", "", "run-1").hex()
    '4f4c538dfbb69bb6ae3168e675a81e34'
    """
    derive = traits_of(source).trace_id
    if derive is not None and (own := derive(root)) is not None:
        return own
    return digest((source, namespace, root))


def digest(parts: Sequence[str], person: bytes = b"") -> bytes:
    """A trace id of 16 bytes, never zero, of parts that are joined with NUL; ``person`` as BLAKE2b takes it."""
    key = _SEPARATOR.join(parts).encode("utf-8", "surrogatepass")
    return blake2b(key, digest_size=16, person=person).digest().replace(bytes(16), _ONE_TRACE)


@lru_cache(maxsize=8192)
def span_id(source: str, namespace: str, run: str, attempt: int, kind: str) -> bytes:
    """The span id of one attempt of one run.

    Args:
        source: Name of the source.
        namespace: Namespace of the run.
        run: Id of the run.
        attempt: Number of the attempt, from 1.
        kind: Kind of the run: workflow, node or task.

    Returns:
        8 bytes, never all zero.

    >>> span_id("events", "", "run-1", 1, "task").hex()
    '8d8217ae36a7f632'
    """
    key = _SEPARATOR.join((source, namespace, run, str(attempt), kind)).encode("utf-8", "surrogatepass")
    return blake2b(key, digest_size=8).digest().replace(bytes(8), _ONE_SPAN)


def traceparent(trace: bytes, span: bytes, sampled: bool = True) -> str:
    """The W3C traceparent (version 00) of a context.

    >>> traceparent(bytes(15) + b"a", bytes(7) + b"b")
    '00-00000000000000000000000000000061-0000000000000062-01'
    """
    return f"00-{trace.hex()}-{span.hex()}-{'01' if sampled else '00'}"


def parse_traceparent(text: str) -> tuple[bytes, bytes] | None:
    """(trace id, span id) of a W3C traceparent; None for a text that is not a valid one.

    >>> [part.hex() for part in parse_traceparent("00-00000000000000000000000000000061-0000000000000062-01")]
    ['00000000000000000000000000000061', '0000000000000062']
    """
    match = _TRACEPARENT.fullmatch(text.strip())
    if match is None or (match[1] == "00" and match[4]):
        return None
    trace, span = bytes.fromhex(match[2]), bytes.fromhex(match[3])
    return (trace, span) if any(trace) and any(span) else None


def is_sampled(text: str) -> bool:
    """Whether the sender of a valid traceparent records the span. If it does not, nobody sends that span, so a span of
    ours cannot be its child."""
    return bool(int(text.strip()[53:55], 16) & 1)
