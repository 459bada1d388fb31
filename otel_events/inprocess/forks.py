"""A fork beside threads of telemetry: without the warning that Python 3.12 and later give for threads of any kind.

Our threads, and those of the providers that ``configure`` sets up, hold nothing that a forked child uses (law 5). Where
the process has threads of others as well, the warning is theirs, and stands.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from typing import Any

OURS = ("otel-events", "Otel")
"""How the names of threads of telemetry begin: ours, the SDK's."""

_FILTER: Any = (
    "ignore",
    re.compile(r"This process \(pid=\d+\) is multi-threaded, use of fork"),
    DeprecationWarning,
    None,
    0,
)


def _before() -> None:
    """Into the list itself: ``filterwarnings`` would also have warnings shown anew that were shown once already."""
    _take_back()
    # What the interpreter itself counts, read without a lock: a hook of a fork must not wait.
    others = [thread for thread in tuple(threading._active.values()) if thread is not threading.current_thread()]  # type: ignore[attr-defined]  # not in its stub
    if all(thread.name.startswith(OURS) for thread in others):
        warnings.filters.insert(0, _FILTER)  # type: ignore[attr-defined]  # a list, though its stub says a sequence


def _take_back() -> None:
    filters: Any = warnings.filters
    while _FILTER in filters:
        filters.remove(_FILTER)


def watch() -> None:
    """Have it so from now on, in this process and its forks. The warning comes after the hooks of the parent in some
    versions (3.13), before them in others: what a fork let be ignored stays so until the next one decides anew."""
    if sys.version_info >= (3, 12):
        os.register_at_fork(before=_before, after_in_child=_take_back)
