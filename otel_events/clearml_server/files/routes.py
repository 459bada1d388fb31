"""The file server: where ClearML's SDK leaves images and artifacts, and its readers fetch them.

| | answers |
|---|---|
| GET / | 200 OK |
| POST / | a multipart form of files, each under its field's name: 200 and the names as a JSON list |
| GET, HEAD /NAME | 200 the file, 206 a range of it; ``?download`` as an attachment; 404 |
| DELETE /NAME | 200 and the name, 404 |
| POST /delete_many | {"files": [names of files or folders]}: 200 {"deleted": {name: name}, "errors": {why: [names]}} |

Whoever may call the API may use it. Files cannot run anything in a browser that shows them: their types come from a
table, types that could hold scripts are downloads, and every answer is sandboxed.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from urllib.parse import unquote_plus

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from otel_events.clearml_server.api.access import Access
from otel_events.clearml_server.api.base import ApiError
from otel_events.clearml_server.files.folder import FileError, Folder
from otel_events.clearml_server.files.upload import Form
from otel_events.server.answers import problem
from otel_events.server.auth import Access as Bind
from otel_events.server.auth import Guard
from otel_events.server.ingest import MIB, Budget, Limits, read_body

log = logging.getLogger("otel_events.clearml")

PIECE_TIME = 60.0
"""Seconds without any bytes after which a request is given up."""
PIECE = MIB
"""Bytes that are collected before they are written: one hop to a thread for each."""
MANY = 10_000
"""Names in one delete_many."""

SHOWN = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".txt": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
}
"""Types of files that a browser may show."""
DOWNLOADED = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".xml": "application/xml",
    ".pdf": "application/pdf",
    ".zip": "application/zip",
}
"""Types of files that a browser may only save; all others are saved as bytes without a type."""
UNKNOWN = "application/octet-stream"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}

Answer = Callable[[Request], Awaitable[Response]]


class Files:
    """The endpoints over one folder."""

    def __init__(self, folder: Folder, access: Access, limits: Limits) -> None:
        self._folder, self._access, self._limits = folder, access, limits
        self._budget = Budget(limits.in_flight)

    async def ping(self, request: Request) -> Response:
        """Say that the file server is there."""
        return PlainTextResponse("OK")

    async def upload(self, request: Request) -> Response:
        """Store the files of a form."""
        form = Form(self._folder, request.headers.get("content-type", ""))
        try:
            await _fed(request, form)
            names = await run_in_threadpool(form.finish)
        finally:
            await run_in_threadpool(form.drop)
        return _json(names)

    async def download(self, request: Request) -> Response:
        """A file, or a range of it."""
        path = await run_in_threadpool(self._folder.find, request.path_params["name"])
        if path is None:
            raise HTTPException(404, "no file of that name")
        ending = PurePosixPath(path.name).suffix.lower()
        attached = ending not in SHOWN or "download" in request.query_params
        kind = SHOWN.get(ending) or DOWNLOADED.get(ending, UNKNOWN)
        how = "attachment" if attached else "inline"
        return FileResponse(path, 200, HEADERS, kind, filename=path.name, content_disposition_type=how)

    async def delete(self, request: Request) -> Response:
        """Delete one file."""
        name = request.path_params["name"]
        if not await run_in_threadpool(self._folder.delete, name):
            raise HTTPException(404, "no file of that name")
        return _json(name)

    async def delete_many(self, request: Request) -> Response:
        """Delete files and folders; those that cannot be deleted are named by reason."""
        with self._budget.held() as held:
            body = (await read_body(request, self._limits, held)).getvalue()
            try:
                names = msgspec.json.decode(body, type=dict[str, list[str]])["files"]
            except (msgspec.MsgspecError, KeyError, RecursionError, UnicodeError) as error:
                raise HTTPException(400, 'files are missing: send {"files": [names]}') from error
            if not 0 < len(names) <= MANY:
                raise HTTPException(400, f"{len(names):,} files: 1 to {MANY:,} in a request")
            return _json(await run_in_threadpool(self._delete_all, names))

    def _delete_all(self, names: list[str]) -> dict[str, object]:
        deleted: dict[str, str] = {}
        errors: dict[str, list[str]] = defaultdict(list)
        for name in names:
            path = unquote_plus(name)
            try:
                if self._folder.delete(path, folders=True):
                    deleted[name] = path
                else:
                    errors["Not found"].append(name)
            except FileError as error:
                errors[error.message].append(name)
            except OSError as error:
                errors[error.strerror or type(error).__name__].append(name)
        return {"deleted": deleted, "errors": errors}

    def checked(self, answer: Answer) -> Answer:
        """The same answer, but only for callers with access; errors are answered as JSON."""

        async def answer_checked(request: Request) -> Response:
            if request.headers.get("content-encoding", "identity") != "identity":
                return problem(415, "Content-Encoding is not supported: send the body as it is")
            try:
                self._access.user(request.headers.get("authorization", ""), request.headers.get("cookie", ""))
                return await answer(request)
            except ApiError as error:
                return problem(error.code, error.message)
            except FileError as error:
                return problem(error.code, error.message, {"Connection": "close"})

        return answer_checked


async def _fed(request: Request, form: Form) -> None:
    """Feed the request's body to the form; HTTPException 408 where the sender falls silent."""
    body, gathered = request.stream(), bytearray()
    while True:
        try:
            piece = await asyncio.wait_for(anext(body, None), PIECE_TIME)
        except TimeoutError as error:
            raise HTTPException(408, f"{PIECE_TIME:g} seconds of silence within the body", _CLOSE) from error
        gathered += piece or b""
        if piece is None or len(gathered) >= PIECE:
            await run_in_threadpool(form.feed, bytes(gathered))
            gathered.clear()
        if piece is None:
            return


_CLOSE = {"Connection": "close"}


def create(
    folder: Folder,
    access: Access,
    host: str = "127.0.0.1",
    limits: Limits = Limits(),  # noqa: B008 - immutable
) -> ASGIApp:
    """The application.

    Args:
        folder: Where files are.
        access: Who may use it.
        host: The address that is bound. On loopback, other names in ``Host`` are refused, see ``api.app.create``.
        limits: Bytes of a body of ``delete_many``.
    """
    files = Files(folder, access, limits)
    routes = [
        Route("/", files.ping),
        Route("/", files.checked(files.upload), methods=["POST"]),
        Route("/delete_many", files.checked(files.delete_many), methods=["POST"]),
        Route("/{name:path}", files.checked(files.download)),
        Route("/{name:path}", files.checked(files.delete), methods=["DELETE"]),
    ]
    handlers = {HTTPException: _refused, OSError: _unkept, ClientDisconnect: _gone, Exception: _fault}
    app = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]  # handlers by exception type
    app.router.redirect_slashes = False
    return Guard(app, Bind(host))


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


def _refused(request: Request, error: HTTPException) -> Response:
    return problem(error.status_code, error.detail, error.headers)


def _unkept(request: Request, error: OSError) -> Response:
    log.error("a file could not be stored or read: %s", error)
    return problem(507, f"the disk of the file server: {error.strerror}", _CLOSE)


def _gone(request: Request, error: ClientDisconnect) -> Response:
    return problem(400, "the client closed the connection within the body")


def _fault(request: Request, error: Exception) -> Response:
    return problem(500, "a fault of the file server; its log has the details")


class Sweeper:
    """A thread that deletes files older than ``age`` seconds, once an hour. ``start`` it once, ``stop`` it at last."""

    EVERY = 3600.0

    def __init__(self, folder: Folder, age: float, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._age, self._clock = folder, age, clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otel-events-files", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for its end."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                deleted = self._folder.sweep(self._clock() - self._age)
                if deleted:
                    log.warning("%d files older than %g days were deleted", deleted, self._age / 86_400)
            except OSError as error:
                log.warning("old files could not be deleted: %s", error)
            self._stopped.wait(self.EVERY)
