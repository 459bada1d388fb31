"""Times as every event has them, nanoseconds since the epoch (UTC), from the forms in which sources send them."""

from __future__ import annotations

import math
import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

SECOND = 1_000_000_000
LAST = 2**63 - 1
"""Latest time, in 2262: a later one fits neither the journal nor OTLP."""

_LONGEST_FRACTION = 9
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)", re.ASCII)
_WHOLE_SECOND = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", re.ASCII)
_LAST_SECOND = 9e9
"""Seconds since the epoch that still fit LAST."""


def from_rfc3339(text: str) -> int:
    """Nanoseconds of an RFC 3339 time.

    Args:
        text: Date and time with a zone; digits of the fraction beyond the ninth are left out.

    Returns:
        Nanoseconds since the epoch, more than 0.

    Raises:
        ValueError: The text is no time, or the time is not between 1970 and 2262.

    >>> from_rfc3339("2026-11-21T00:08:49.561924Z")
    1795219729561924000
    >>> from_rfc3339("2026-11-21T01:08:49+01:00")
    1795219729000000000
    """
    fraction = text[20:-1]
    # The usual form first, since each record has several: its second is looked up, its fraction only scaled.
    if text[-1:] == "Z" and text[19:20] == "." and fraction.isdecimal() and fraction.isascii():
        time = _utc_second(text[:19]) + int(fraction[:_LONGEST_FRACTION].ljust(_LONGEST_FRACTION, "0"))
    else:
        time = _any_time(text)
    if 0 < time <= LAST:
        return time
    raise ValueError("not between 1970 and 2262")


def _any_time(text: str) -> int:
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError("expected a time as in 2026-11-21T00:08:49.561924Z")
    second, fraction, zone = match.groups()
    whole = _second(second, "+00:00" if zone == "Z" else zone)
    return whole + int((fraction or "0").ljust(_LONGEST_FRACTION, "0"))


@lru_cache(maxsize=4096)
def _utc_second(text: str) -> int:
    """Remembered, because many events fall into the same second."""
    if _WHOLE_SECOND.fullmatch(text) is None:
        raise ValueError("expected a time as in 2026-11-21T00:08:49.561924Z")
    return _second(text, "+00:00")


def _second(text: str, zone: str) -> int:
    """Nanoseconds of a time without fraction; ValueError where it is no time."""
    try:
        return int(datetime.fromisoformat(text + zone).timestamp()) * SECOND
    except OverflowError as error:
        raise ValueError(str(error)) from None


def from_seconds(value: object) -> int:
    """Nanoseconds of a time in seconds as JSON has it, exact to the last decimal digit written.

    Args:
        value: Any value of a JSON document.

    Returns:
        Nanoseconds since the epoch; 0 for what is no number, and for times not between 1970 and 2255.

    >>> from_seconds(1795219729.561924)
    1795219729561924000
    >>> from_seconds("yesterday")
    0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return int(Decimal(repr(value)) * SECOND) if 0 < value < _LAST_SECOND else 0
