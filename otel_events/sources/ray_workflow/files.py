"""The files under ``<storage>/workflows`` of Ray 2.47 and earlier: read only, bounded, and never outside of it.

A storage is a local folder, or any URL that fsspec takes (``s3://bucket/ray``; the extra ``otel-events[ray]``). It is
named as Ray's own ``ray.init(storage=...)`` has it, without ``workflows``. Nothing is unpickled, nothing is written.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from otel_events.model.errors import ConfigError

FOLDER = "workflows"
LARGEST = 4 << 20
"""Bytes of one JSON file; what is larger counts as unreadable, as half a file does."""
T = TypeVar("T")

_URL = re.compile(r"[a-zA-Z][\w+.-]+:(:|//)")


class Files(Protocol):
    """One storage. Keys are relative to ``workflows``, with ``/``; what a key names outside of it does not exist.

    Each raises ConfigError where the storage itself cannot be read.
    """

    url: str

    def names(self, key: str) -> list[str]:
        """Names of what is in a folder, sorted; none where it is no folder."""

    def read(self, key: str) -> bytes | None:
        """A file's bytes; None where there is none, or more than ``LARGEST``."""

    def modified(self, key: str) -> int:
        """When a file was last written, ns since the epoch; 0 where there is none or its storage does not tell."""

    def walk(self, key: str) -> Iterator[tuple[str, int]]:
        """(path below the folder ``key``, when last written) of all files in it, however deep."""


def is_storage(url: str) -> bool:
    """Whether a path or URL may be one: any URL, and a folder with a folder ``workflows`` in it."""
    return bool(_URL.match(url)) or os.path.isdir(os.path.join(url, FOLDER))


def open_storage(url: str) -> Files:
    """The storage of that path or URL. ConfigError: no such folder, or fsspec has no such protocol."""
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    return _Bucket(url) if _URL.match(url) else _Folder(url)


def key(*parts: str) -> str | None:
    """The key made of ids and names, joined as Ray does it (``a//b`` is ``a/b``); None for a key that could lead out of
    the storage: absolute, with ``..`` or ``.``, or with a NUL.

    >>> key("trip", "tasks", "a//b"), key("../other")
    ('trip/tasks/a/b', None)
    """
    steps_of_all: list[str] = []
    for part in parts:
        steps = [step for step in part.split("/") if step]
        if part.startswith("/") or "\0" in part or not {".", ".."}.isdisjoint(steps):
            return None
        steps_of_all += steps
    return "/".join(steps_of_all)


def read_json(files: Files, path: str) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file, or no whole object in it (Ray's writes are not
    atomic)."""
    body = files.read(path)
    try:
        content = json.loads(body) if body else None
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


class _Folder:
    """A local folder. Links are followed within the storage only; pipes and devices are no files."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = os.path.realpath(Path(url).expanduser() / FOLDER)
        if not Path(url).expanduser().is_dir():
            raise ConfigError(f"no storage of Ray workflows at {url}: name the folder given as ray.init(storage=...)")

    def _place(self, path: str) -> str | None:
        place = os.path.realpath(os.path.join(self._root, path))
        return place if place == self._root or place.startswith(self._root + os.sep) else None

    def names(self, key: str) -> list[str]:
        place = self._place(key)
        return self._tried(lambda: sorted(os.listdir(place)), []) if place else []

    def read(self, key: str) -> bytes | None:
        place = self._place(key)
        return self._tried(lambda: _regular(place), None) if place else None

    def modified(self, key: str) -> int:
        place = self._place(key)
        return self._tried(lambda: os.stat(place).st_mtime_ns, 0) if place else 0

    def walk(self, key: str) -> Iterator[tuple[str, int]]:
        top = os.path.join(self._root, key)
        for folder, _, names in os.walk(top):
            below = os.path.relpath(folder, top).replace(os.sep, "/")
            for name in names:
                path = name if below == "." else f"{below}/{name}"
                yield path, self.modified(f"{key}/{path}")

    def _tried(self, look: Callable[[], T], otherwise: T) -> T:
        try:
            return look()
        except OSError as error:
            if error.errno in NOT_THERE:
                return otherwise
            raise unreadable(self.url, error) from error


NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)


def _regular(place: str) -> bytes | None:
    """The bytes of a file; None for a folder, pipe or device, and for one that is too large."""
    if not stat.S_ISREG(os.stat(place).st_mode):
        return None
    with open(os.open(place, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        body = file.read(LARGEST + 1)
    return body if len(body) <= LARGEST else None


def unreadable(url: str, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return ConfigError(f"the storage {url} cannot be read ({reason}): check its address, rights and the network")


class _Bucket:
    """A storage that fsspec reads. Every error of its file system but a missing file becomes a ConfigError."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            import fsspec  # optional: only a storage with a URL needs it
        except ModuleNotFoundError:
            raise ConfigError(f"{url} needs fsspec: pip install 'otel-events[ray]', and fsspec's own for it") from None
        try:
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigError(f"{url} is no storage that fsspec reads here ({error}): check the protocol") from error
        self._root = f"{root.rstrip('/')}/{FOLDER}"

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    def names(self, key: str) -> list[str]:
        place = self._path(key)
        try:
            paths = self._files.ls(place, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except Exception as error:
            raise unreadable(self.url, error) from error
        below = [path.rstrip("/") for path in paths]
        return sorted(path.rsplit("/", 1)[-1] for path in below if not path.endswith(place))

    def read(self, key: str) -> bytes | None:
        try:
            with self._files.open(self._path(key), "rb", block_size=LARGEST) as file:
                body: bytes = file.read(LARGEST + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except Exception as error:
            raise unreadable(self.url, error) from error
        return body if len(body) <= LARGEST else None

    def modified(self, key: str) -> int:
        try:
            return _written(self._files.info(self._path(key)))
        except (FileNotFoundError, NotADirectoryError):
            return 0
        except Exception as error:
            raise unreadable(self.url, error) from error

    def walk(self, key: str) -> Iterator[tuple[str, int]]:
        top = self._path(key)
        try:
            files = self._files.find(top, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return
        except Exception as error:
            raise unreadable(self.url, error) from error
        for path, info in sorted(files.items()):
            yield path[path.index(top) + len(top) + 1 :], _written(info)


WRITTEN = ("mtime", "LastModified", "last_modified", "updated", "created")
"""Keys of the time of the last write in fsspec's file systems: local and sftp, s3, azure, gcs, memory."""


def _written(info: dict[str, Any]) -> int:
    for name in WRITTEN:
        value = info.get(name)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime):
            value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float) and value > 0:
            return int(value * 1_000_000_000)
    return 0
