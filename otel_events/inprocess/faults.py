"""What fails in a user's path and is passed over: counted, logged the first time; ids that no two processes share."""

from __future__ import annotations

import itertools
import logging
import os
import threading

_logger = logging.getLogger("otel_events")
_counter = itertools.count(1).__next__
_own = os.urandom(10).hex()
_faults: dict[str, int] = {}
_fault_lock = threading.Lock()


def new_id() -> str:
    """An id of 32 hex digits that nothing else has, in any process: a random half of this process, and a number. Not
    from ``random``, which hosts seed; each forked child draws a half of its own."""
    return f"{_own}{_counter():012x}"


def process_id() -> str:
    """The half of ``new_id`` that is this process's own: another one after a fork."""
    return _own


def fault(what: str, error: BaseException) -> None:
    """Something of ours, or that we called for the user, failed in the user's path: count it, log it the first time,
    and go on. Raises nothing itself."""
    try:
        with _fault_lock:
            first = what not in _faults
            _faults[what] = _faults.get(what, 0) + 1
        if first:
            _logger.warning("%s failed, its task goes on; told once, then counted: %s", what, _described(error))
    except Exception:  # noqa: BLE001, S110  # a handler of the user's that raises; there is nobody left to tell
        pass


def faults() -> dict[str, int]:
    """How often what has failed in this process."""
    with _fault_lock:
        return dict(_faults)


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001  # what a foreign exception says of itself may fail
        return type(error).__name__


def _in_child() -> None:
    global _own, _fault_lock
    _own, _fault_lock = os.urandom(10).hex(), threading.Lock()


os.register_at_fork(after_in_child=_in_child)
