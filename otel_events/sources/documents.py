"""Records that are one JSON document of a given shape."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.nesting import shallow

T = TypeVar("T")


def parse(decoder: msgspec.json.Decoder[T], record: bytes, expected: str, page: str) -> T:
    """Read a JSON document into the shape of its decoder.

    Args:
        decoder: Made once for the shape.
        record: The document.
        expected: What the record should be, for the error: ``an event of ours``.
        page: The page of the documentation that describes the shape: ``ray.md``.

    Raises:
        DecodeError: The record is no JSON, is nested too deeply, or has a field that does not fit; it names the place.

    >>> parse(msgspec.json.Decoder(dict[str, int]), b'{"attempt": 1}', "an example", "sources.md")
    {'attempt': 1}
    """
    try:
        return decoder.decode(shallow(record))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise DecodeError(f"not {expected}: {error}; see docs/{page} for the shape") from error
