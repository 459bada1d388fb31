"""Results of tasks on disk (diskcache), by the key of their inputs (fingerprint.py).

In $OTEL_EVENTS_CACHE, else otel-events/tasks in $XDG_CACHE_HOME or ~/.cache. Values are pickled, and reading a pickle
runs what it says: so the folder is made for its user alone (0700), and one that others own or may write is not used.
Nothing here raises: what fails is counted and logged once, and the task runs as if there were no cache.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

import diskcache
import msgspec

from otel_events.event import Link
from otel_events.pipeline.live import fault

PLACE = "OTEL_EVENTS_CACHE"
FAULT = "the cache of a task"
LIMIT = 1 << 30
"""Bytes of all results; past it the least recently stored go."""


class Kept(msgspec.Struct, frozen=True):
    """A result, and the run that made it."""

    result: Any
    link: Link


_open: dict[Path, diskcache.Cache] = {}
_opening = threading.Lock()


def place() -> Path:
    """The folder, as the environment says."""
    named = os.environ.get(PLACE, "")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "otel-events" / "tasks"


def _cache() -> diskcache.Cache:
    """Raises PermissionError for a folder that is not this user's alone, and what diskcache raises."""
    path = place()
    with _opening:
        if path not in _open:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = path.stat()
            if found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(
                    f"{path} is another user's, or others may write to it: chmod 700, or name one in {PLACE}"
                )
            _open[path] = diskcache.Cache(str(path), size_limit=LIMIT)
        return _open[path]


def _in_child() -> None:
    global _opening
    _opening = threading.Lock()
    _open.clear()  # SQLite's connections are their process's own


os.register_at_fork(after_in_child=_in_child)


def look_up(key: str) -> Kept | None:
    """What is kept under ``key``; None where there is nothing, or it cannot be read."""
    try:
        found = _cache().get(key)
        return found if isinstance(found, Kept) else None
    except Exception as error:  # noqa: BLE001  # a damaged file, a class that is no more: the task runs
        fault(FAULT, error)
        return None


def keep(key: str, result: Any, link: Link) -> bool:
    """Keep a result; whether it could be."""
    try:
        return bool(_cache().set(key, Kept(result, link)))
    except Exception as error:  # noqa: BLE001  # a result that cannot be pickled, a full disk
        fault(FAULT, error)
        return False


class Turn:
    """The turn of one key among all processes of this folder: held by one at a time, let go with its process."""

    def __init__(self, key: str) -> None:
        self._key, self._fd = key, -1

    def take(self, wait: bool) -> bool:
        """Whether it is ours; with ``wait``, after waiting for it. A folder that cannot be used is nobody's turn."""
        try:
            if self._fd < 0:
                folder = Path(_cache().directory) / "turns"
                folder.mkdir(mode=0o700, exist_ok=True)
                self._fd = os.open(folder / self._key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except Exception as error:  # noqa: BLE001  # without turns the tasks still run
            fault(FAULT, error)
        return True

    def give(self) -> None:
        """Let the next one in; any number of times."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
