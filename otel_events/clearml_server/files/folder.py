"""The folder of the file server: images and artifacts under the names that their senders gave.

ClearML's own file server stores them in the same way, so either can be used with the folder of the other. No name can
point outside of the folder, and all files together have a limit of bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from otel_events.model.errors import ConfigError

INCOMING = ".incoming"
"""The folder of uploads that are not whole yet; no name may begin with it."""
MAX_PART, MAX_NAME, MAX_DEPTH = 255, 2_000, 32
"""Bytes of one part of a name (as file systems allow them), bytes of a whole name, and parts of a name."""


class Bounds(msgspec.Struct, frozen=True):
    """The most bytes of all files together, and of one file."""

    total: int = 10 << 30
    file: int = 5 << 30


class FileError(Exception):
    """A file that cannot be stored, or a name that cannot be used; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def parts(name: str) -> list[str]:
    """The parts of a file's name, which ``/`` separates.

    Raises:
        FileError: 400, it is no name of a file in the folder.

    >>> parts("project/task/image.png")
    ['project', 'task', 'image.png']
    """
    names = [part for part in name.split("/") if part]
    try:
        sizes = [len(part.encode()) for part in names]
    except UnicodeEncodeError as error:
        raise FileError(400, "the file's name is not Unicode") from error
    if not names or names[0] == INCOMING or any(part in (".", "..") for part in names):
        raise FileError(400, "not the name of a file: name a path below the root, without . and .. in it")
    if max(sizes) > MAX_PART or sum(sizes) + len(sizes) > MAX_NAME or len(sizes) > MAX_DEPTH:
        limits = f"{MAX_PART} bytes a part, {MAX_NAME:,} in all, {MAX_DEPTH} parts"
        raise FileError(400, f"the file's name is too long: at most {limits}")
    if any(ord(letter) < 32 or ord(letter) == 127 for part in names for letter in part):
        raise FileError(400, "a control character in the file's name: leave it out")
    return names


class Folder:
    """The folder, of one process. Its methods may be called from any thread."""

    def __init__(self, root: Path, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - immutable
        """Open the folder, or create it.

        Raises:
            ConfigError: It cannot be created or written.
        """
        self.root, self.bounds = root, bounds
        self._lock = threading.Lock()
        self._incoming = root / INCOMING
        try:
            shutil.rmtree(self._incoming, ignore_errors=True)  # of uploads that a kill cut off
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._incoming.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigError(f"--clearml-files {root}: {error.strerror}: name a folder that can be written") from error
        self._used = sum(size for _, size, _ in self._files())

    @property
    def used(self) -> int:
        """Bytes of all files, uploads in progress included."""
        return self._used

    def find(self, name: str) -> Path | None:
        """The file of that name; None where there is none. Links are not followed: they could lead outside.

        Raises:
            FileError: 400, it is no name.
        """
        path = self.root.joinpath(*parts(name))
        real = path.is_file() and path.resolve() == self.root.resolve().joinpath(*parts(name))
        return path if real else None

    def upload(self) -> Upload:
        """Room for a file that is not whole yet."""
        descriptor, path = tempfile.mkstemp(dir=self._incoming)
        return Upload(self, os.fdopen(descriptor, "wb"), Path(path))

    def store(self, temporary: Path, name: str) -> None:
        """Give a whole upload its name; a file of that name is replaced.

        Raises:
            FileError: 400, it is no name; 409, a folder has this name, or a file the name of a folder in it.
        """
        path = self.root.joinpath(*parts(name))
        with self._lock:  # against ``delete``, which removes folders that have become empty
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                before = path.lstat().st_size if path.is_file() else 0
                temporary.replace(path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise FileError(409, "a file is where this name has a folder, or the other way round") from error
            self._used -= before

    def delete(self, name: str, folders: bool = False) -> bool:
        """Delete a file, or with ``folders`` also a folder; whether there was one.

        Raises:
            FileError: 400, it is no name.
        """
        path = self.root.joinpath(*parts(name))
        with self._lock:
            if self.find(name) is not None:
                self._used -= path.stat().st_size
                path.unlink()
            elif folders and path.is_dir() and path.resolve().is_relative_to(self.root.resolve()):
                self._used -= sum(size for _, size, _ in self._files(path))
                shutil.rmtree(path)
            else:
                return False
            self._prune(path.parent)
        return True

    def sweep(self, before: float) -> int:
        """Delete files that were last written before that time (epoch seconds); how many."""
        deleted = 0
        for path, _, written in list(self._files()):
            if written < before and self._incoming not in path.parents:
                with contextlib.suppress(FileError):  # put here by others, under a name that we do not take
                    deleted += self.delete(path.relative_to(self.root).as_posix())
        return deleted

    def take(self, size: int) -> None:
        """Reserve room for bytes that come in.

        Raises:
            FileError: 507, there is none.
        """
        with self._lock:
            if self._used + size > self.bounds.total:
                problem = f"the file server's {self.bounds.total:,} bytes are full"
                raise FileError(507, f"{problem}: delete tasks, or give it more by --clearml-files-mib")
            self._used += size

    def give_back(self, size: int) -> None:
        """Free room that was reserved by ``take``."""
        with self._lock:
            self._used -= size

    def _files(self, below: Path | None = None) -> Iterator[tuple[Path, int, float]]:
        """Each file as (path, bytes, time when it was last written)."""
        for folder, _, names in os.walk(below or self.root):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # an upload that ended, a file that was deleted
                    status = path.lstat()
                    yield path, status.st_size, status.st_mtime

    def _prune(self, folder: Path) -> None:
        """Remove a folder and those above it, as long as they are empty."""
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


class Upload:
    """A file that is being received. ``store`` or ``drop`` ends it; ``drop`` may be called any number of times."""

    def __init__(self, folder: Folder, file: BinaryIO, path: Path) -> None:
        self._folder, self._file, self._path = folder, file, path
        self._size, self._over = 0, False

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            FileError: 413, the file is too large; 507, the folder is full.
        """
        if self._size + len(data) > self._folder.bounds.file:
            raise FileError(413, f"a file of more than {self._folder.bounds.file:,} bytes")
        self._folder.take(len(data))
        self._size += len(data)
        self._file.write(data)

    def store(self, name: str) -> None:
        """Store the file under this name; it is on disk when this returns.

        Raises:
            FileError: 400, 409: see ``Folder.store``.
        """
        self._file.flush()
        os.fsync(self._file.fileno())  # before the file gets its name: a name never stands for half a file
        self._folder.store(self._path, name)
        self._over = True
        self._file.close()

    def drop(self) -> None:
        """Delete what was received, unless it was stored."""
        if not self._over:
            self._over = True
            self._file.close()
            self._path.unlink(missing_ok=True)
            self._folder.give_back(self._size)
