"""The states of scrolls, which say where the paging of a reader stands: in memory, or in the scroll id itself.

States in memory are bounded in number and age; ClearML has them in Redis and Elasticsearch for an hour after the last
use. States in scroll ids (raw series, task events) never expire. They hold only what the client has sent and the place,
so they need no secret.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import msgspec

MAX_SCROLLS = 10_000
MAX_AGE_S = 3_600.0
_MAX_TOKEN = 64 * 1024
_Kind = TypeVar("_Kind")


class Scrolls:
    """States by scroll id; the least recently used is dropped first. ``clock``: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._states: OrderedDict[str, tuple[float, object]] = OrderedDict()

    def get(self, scroll_id: object, kind: type[_Kind]) -> _Kind | None:
        """The state, if it is of that kind; None where there is none, or where it has expired."""
        with self._lock:
            used, state = self._states.get(scroll_id, (0.0, None)) if isinstance(scroll_id, str) else (0.0, None)
            if not isinstance(state, kind) or used < self._clock() - MAX_AGE_S:
                return None
            return state

    def put(self, state: object, scroll_id: str | None = None) -> str:
        """Store a state, under a new id where none is given; its id."""
        state_id = scroll_id or secrets.token_hex(16)
        now = self._clock()
        with self._lock:
            self._states[state_id] = (now, state)
            self._states.move_to_end(state_id)
            while len(self._states) > MAX_SCROLLS or next(iter(self._states.values()))[0] < now - MAX_AGE_S:
                self._states.popitem(last=False)
        return state_id

    def clear(self, scroll_id: object) -> None:
        """Forget a state, if there is one of that id."""
        with self._lock:
            if isinstance(scroll_id, str):
                self._states.pop(scroll_id, None)


def packed(state: msgspec.Struct) -> str:
    """A scroll id that holds the state."""
    return base64.urlsafe_b64encode(msgspec.json.encode(state)).decode()


def unpacked(scroll_id: str, kind: type[_Kind]) -> _Kind | None:
    """The state in a scroll id; None where it is none of ours."""
    if len(scroll_id) > _MAX_TOKEN:
        return None
    try:
        return msgspec.json.decode(base64.b64decode(scroll_id, altchars=b"-_", validate=True), type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
