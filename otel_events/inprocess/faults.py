"""Errors in a user's path that are passed over (law 5): counted by what failed, logged the first time."""

from __future__ import annotations

import logging
import os
import threading

_logger = logging.getLogger("otel_events")
_faults: dict[str, int] = {}
_fault_lock = threading.Lock()


def fault(what: str, error: BaseException) -> None:
    """Count an error of our own, or of something that we called for the user, and go on. Raises nothing itself.

    Args:
        what: What failed, in a few words: the key of the count, and the beginning of the line in the log.
        error: The exception. Only the first one of each ``what`` is logged.
    """
    try:
        with _fault_lock:
            first = what not in _faults
            _faults[what] = _faults.get(what, 0) + 1
        if first:
            _logger.warning("%s failed, its task goes on; logged once, then counted: %s", what, _described(error))
    except Exception:  # noqa: BLE001, S110  # a log handler of the user's that raises: there is no other way to report it
        pass


def faults() -> dict[str, int]:
    """How often each thing has failed in this process."""
    with _fault_lock:
        return dict(_faults)


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001  # the __str__ of a foreign exception may raise
        return type(error).__name__


def _in_child() -> None:
    global _fault_lock
    _fault_lock = threading.Lock()  # the parent's may have been held by a thread that does not exist here


os.register_at_fork(after_in_child=_in_child)
