"""Silences the warning of Python 3.12 and later about a fork beside threads, where all threads are of telemetry.

Our threads, and those of the providers that ``configure`` sets up, hold nothing that a forked child uses (law 5). Where
the process has other threads as well, the warning stays.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from typing import Any

OURS = ("otel-events", "Otel")
"""Beginnings of the names of telemetry threads: ours, and the SDK's."""

_FILTER: Any = (
    "ignore",
    re.compile(r"This process \(pid=\d+\) is multi-threaded, use of fork"),
    DeprecationWarning,
    None,
    0,
)


def _before() -> None:
    """Change the list itself: ``filterwarnings`` would also show again the warnings that were shown once already."""
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
    """Decide at each fork from now on, in this process and its forks.

    Some versions (3.13) warn after the fork hooks of the parent, others before them: so the filter stays in place until
    the next fork decides again.
    """
    if sys.version_info >= (3, 12):
        os.register_at_fork(before=_before, after_in_child=_take_back)
