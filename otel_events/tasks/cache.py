"""Results of tasks on disk (diskcache), by the key of their inputs (fingerprint.py).

In $OTEL_EVENTS_CACHE, else otel-events/tasks in $XDG_CACHE_HOME or ~/.cache. Values are pickled, and reading a pickle
runs what it says: so the folder is made for its user alone (0700), and one that others own or may write is not used.
Nothing here raises: what fails is counted and logged once, and the task runs as if there were no cache.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

import diskcache
import msgspec

from otel_events.inprocess.queue import fault
from otel_events.model.event import Link

PLACE = "OTEL_EVENTS_CACHE"
FAULT = "the cache of a task"
LIMIT = 1 << 30
"""Bytes of all results; past it the least recently stored go."""


class Kept(msgspec.Struct, frozen=True):
    """A result, and the run that made it."""

    result: Any
    link: Link


class _Cache(diskcache.Cache):  # type: ignore[misc]  # it has no types
    """Leaves no connection open where the file is none of its own."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(str(path), size_limit=LIMIT)
        except BaseException:
            with contextlib.suppress(Exception):  # where it did not come so far as to open one
                self.close()
            raise


_open: dict[Path, _Cache] = {}
_opening = threading.Lock()


class _Connection:
    """A connection of one thread, closed when that thread ends: diskcache leaves it to the garbage collector, which
    warns since Python 3.13."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of a parent process, or closed already
            self._connection.close()


class _OfThread(threading.local):
    """What a thread has open, by the folder."""

    def __init__(self) -> None:
        self.connections: dict[Path, _Connection] = {}


_of_thread = _OfThread()


def place() -> Path:
    """The folder, as the environment says."""
    named = os.environ.get(PLACE, "")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "otel-events" / "tasks"


def _cache() -> _Cache:
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
            _open[path] = _Cache(path)
        cache = _open[path]
    if path not in _of_thread.connections:
        _of_thread.connections[path] = _Connection(cache._con)
    return cache


def _at_exit() -> None:
    """The connections of the main thread, which does not end before the interpreter does."""
    for cache in _open.values():
        with contextlib.suppress(Exception):
            cache.close()


atexit.register(_at_exit)


def _in_child() -> None:
    global _opening, _of_thread
    _opening, _of_thread = threading.Lock(), _OfThread()
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
