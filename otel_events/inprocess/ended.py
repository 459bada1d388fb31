"""A call of a decorated function that has ended, for what looks at more than its run: its decks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from otel_events.inprocess.attempts import ProcessAttempt


class EndedCall(msgspec.Struct):
    """A call, before its outcome is handed over; ``attempt.outcome`` is set already."""

    name: str
    """Of the definition."""
    function: Callable[..., Any]
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]
    attempt: ProcessAttempt
    result: Any
    error: BaseException | None
    enable_deck: bool
    deck_fields: Sequence[Any] | None
    """The decks that the task asks for; None: the default ones."""
