"""Ids that no two processes share."""

from __future__ import annotations

import itertools
import os

_counter = itertools.count(1).__next__
_process_id = os.urandom(10).hex()


def new_id() -> str:
    """An id that nothing else has, in any process.

    It is not made by ``random``, which programs seed: two processes with the same seed would make the same ids.

    Returns:
        32 hex digits: the random part of this process, and a number.
    """
    return f"{_process_id}{_counter():012x}"


def process_id() -> str:
    """The random part of ``new_id`` that is this process's own: another one after a fork."""
    return _process_id


def _in_child() -> None:
    global _process_id
    _process_id = os.urandom(10).hex()


os.register_at_fork(after_in_child=_in_child)
