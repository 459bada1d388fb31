"""What a source is given to decode, and what cannot be given to it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from otel_events.model.event import AnyEvent


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it came. ``hint``: a file name, message type or content type; ``where`` names it to a person."""

    body: bytes
    hint: str = ""
    where: str = ""


class ParsedRecord(msgspec.Struct, frozen=True):
    """A record whose taker has parsed it already. ``decode`` gives its events (DecodeError where it cannot), ``encode``
    its bytes, which are needed only where the record itself is stored; ``where`` names it to a person."""

    decode: Callable[[], list[AnyEvent]]
    encode: Callable[[], bytes]
    where: str = ""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """What is too long, unreadable or broken: its first 4 KiB as ``head``; ``length`` in bytes as far as known."""

    where: str
    reason: str
    head: bytes
    length: int
