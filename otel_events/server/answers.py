"""What is answered: always JSON, never a stack trace."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from otel_events.gateway.gateway import Accepted

SHOWN = 100
"""Refused records that one answer names; ``refused_count`` tells how many there were."""
REASON_LENGTH = 500


def answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    """``body`` as JSON."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


def problem(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """{"error": message}: what is wrong and what to do."""
    return answer(status, {"error": message}, headers)


class Named(msgspec.Struct):
    """A record that was refused, and why."""

    where: str
    reason: str


class Taken(msgspec.Struct):
    """What became of one request's records. New events, events that were there already, the first refused records."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[Named] = []
    refused_count: int = 0

    def add(self, part: Accepted) -> None:
        self.accepted += part.accepted
        self.duplicates += part.duplicates
        self.refused_count += len(part.refused)
        room = SHOWN - len(self.refused)
        self.refused += [Named(letter.where, letter.reason[:REASON_LENGTH]) for letter in part.refused[:room]]

    @property
    def status(self) -> int:
        """400 when nothing but refusals came of it, so that the sender looks; else 200."""
        return 400 if self.refused_count and not (self.accepted or self.duplicates) else 200
