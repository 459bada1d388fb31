"""Writes a multipart/form-data body into files, piece by piece: no more than one piece is in memory."""

from __future__ import annotations

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from otel_events.clearml_server.files.folder import FileError, Folder, Upload, parts

MAX_FILES = 100
"""Files in one request; the SDK sends one."""
MAX_HEADER = 8 * 1024
"""Bytes of the headers of one part."""
MAX_BOUNDARY = 200


class Form:
    """The files of one request. They are stored under the names of their fields once the whole request is here.

    Call ``feed`` with each piece, then ``finish``, and in any case ``drop``, which frees the room of what was not
    stored. Each may raise FileError with 400, 409, 413 or 507.
    """

    def __init__(self, folder: Folder, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= MAX_BOUNDARY:
            raise FileError(400, "not a form with files: send multipart/form-data with a boundary")
        self._folder = folder
        self._files: list[tuple[str, Upload]] = []
        self._open: Upload | None = None
        self._field, self._value, self._size = bytearray(), bytearray(), 0
        self._disposition = b""
        self._ended = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a TypedDict there, these keys of it

    def feed(self, piece: bytes) -> None:
        """Parse a piece of the body."""
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise FileError(400, f"the form cannot be read: {error}") from error

    def finish(self) -> list[str]:
        """Store the files; their names."""
        if not self._ended:
            raise FileError(400, "the form ends too soon: send it again, whole")
        for name, upload in self._files:
            upload.store(name)
        return [name for name, _ in self._files]

    def drop(self) -> None:
        """Delete the files that were not stored."""
        for _, upload in self._files:
            upload.drop()

    # --- callbacks of the parser ---

    def _begin(self) -> None:
        self._open, self._disposition, self._size = None, b"", 0

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEADER:
            raise FileError(400, f"a part of the form has more than {MAX_HEADER:,} bytes of headers")

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return  # a field without a file: nothing to store
        try:
            name = "/".join(parts(options.get(b"name", b"").decode()))
        except UnicodeDecodeError as error:
            raise FileError(400, "the file's name is not UTF-8") from error
        if len(self._files) >= MAX_FILES:
            raise FileError(413, f"more than {MAX_FILES} files in one request: send them in parts")
        self._open = self._folder.upload()
        self._files.append((name, self._open))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._open is not None:
            self._open.write(data[start:end])

    def _end(self) -> None:
        self._ended = True
