"""Endpoints: an endpoint is a row with its name, the version it begins with, its fields, and the function that answers.

    ENDPOINTS = (Endpoint("events.get_task_log", "2.9", answer, (TASK, Field("batch_size", int, default=5000))),)

Rules for fields, codes and texts are those of the recorded server (API 2.34): unknown fields are ignored, a wrong type
or a missing field is 400/12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from otel_events.clearml_server.api.reads.scrolls import Scrolls
from otel_events.clearml_server.store import Documents, Events, Owner, Retention
from otel_events.sources.clearml.decode import AnsweredCall

Version = tuple[int, int]

MISSING: Any = object()


class ApiError(Exception):
    """A refusal: HTTP status, subcode and the text of ``result_msg``."""

    def __init__(self, code: int, subcode: int, message: str) -> None:
        super().__init__(message)
        self.code, self.subcode, self.message = code, subcode, message


def failed_validation(detail: str) -> ApiError:
    """The error for a field that breaks the endpoint's rules."""
    return ApiError(400, 12, f"Validation error ({detail})")


def invalid_task(*ids: str) -> ApiError:
    """The error of reads, which name all tasks of the request."""
    return ApiError(400, 101, f"Invalid task id: ids=({', '.join(ids)})")


def invalid_model(*ids: str) -> ApiError:
    """The error of reads, which name all models of the request."""
    return ApiError(400, 201, f"Invalid model id: ids=({', '.join(ids)})")


def invalid_scroll(scroll_id: object) -> ApiError:
    """The error for a scroll id that names no state."""
    return ApiError(400, 1104, f"Invalid scroll id: scroll_id={scroll_id}")


class Field(msgspec.Struct, frozen=True):
    """One field of a request. ``type``: str, int, float, bool, list or dict (None: any value). ``low`` and ``high``
    bound a number's value and a list's length; ``choices`` those of an enum, which the server calls ``type_name``."""

    name: str
    type: type | None = str
    required: bool = False
    default: Any = None
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    type_name: str = ""


class Call(msgspec.Struct):
    """One checked request. ``data`` has the endpoint's fields that were sent or have a default, and all others that
    came. ``lines``: the objects of an application/json-lines body. Times are epoch milliseconds."""

    endpoint: str
    version: Version
    data: dict[str, Any]
    lines: list[dict[str, Any]] | None = None
    worker: str = "<unknown>"
    user: str = ""
    company: str = ""
    now_ms: int = 0


class Attachment(msgspec.Struct, frozen=True):
    """A download, in pieces."""

    name: str
    media_type: str
    pieces: Iterable[bytes]


TASK, MODEL = "task", "model"
"""Kinds of documents in the store. A task's has ``status``, a model's ``ready``."""
LOCKED = ("publishing", "published")


class Service:
    """What answers rest on: the store, the clock, scrolls in progress, and who takes the calls that change runs."""

    def __init__(
        self,
        documents: Documents,
        events: Events,
        retention: Retention,
        company: str,
        now_ms: Callable[[], int],
        clock: Callable[[], float],
        offer: Callable[[AnsweredCall], None] = lambda call: None,
        refused: Callable[[int], None] = lambda events: None,
    ) -> None:
        """
        Args:
            documents: The store of tasks, models, projects and queues.
            events: The store of what tasks report.
            retention: The store's deletion of log lines.
            company: The id of the one company.
            now_ms: The wall clock, epoch milliseconds.
            clock: Monotonic seconds.
            offer: Takes a call that changed something, and raises when it could not be stored.
            refused: Counts events that could not be stored.
        """
        self.documents, self.events, self.retention = documents, events, retention
        self.company, self.now_ms, self.offer = company, now_ms, offer
        self.refused = refused
        self.scrolls = Scrolls(clock)

    def document(self, owner: Owner) -> dict[str, Any] | None:
        """The document of a task or model; None where there is none."""
        return self.documents.get(MODEL if owner.model else TASK, owner.id)

    def must_exist(self, owners: Sequence[Owner]) -> None:
        """Check that all owners exist.

        Raises:
            ApiError: 400/101 or 400/201, one is unknown; the text names all of them, as ClearML's does.
        """
        if any(self.document(owner) is None for owner in owners):
            ids = [owner.id for owner in owners]
            raise invalid_model(*ids) if owners[0].model else invalid_task(*ids)

    def name(self, owner: Owner) -> str:
        """The name of a task or model; "" where it has none."""
        return str((self.document(owner) or {}).get("name") or "")

    def unlocked(self, owner: Owner, allow_locked: bool = False) -> Owner:
        """The owner, if its events may be changed: it exists, and is not published or the caller insists.

        Raises:
            ApiError: 400/101 or 400/201, they may not.
        """
        document = self.document(owner)
        if document is None:
            if owner.model:
                raise invalid_model(owner.id)
            raise ApiError(400, 101, f"Invalid task id: id={owner.id}, company={self.company}")
        if not allow_locked and is_locked(owner, document):
            what, code = ("model", 201) if owner.model else ("task", 101)
            where = f"company={self.company}, id={owner.id}"
            raise ApiError(400, code, f"Cannot update events for a published {what}: {where}")
        return owner


def is_locked(owner: Owner, document: Mapping[str, Any]) -> bool:
    """Whether a task or model is published: then its events change no more."""
    return bool(document.get("ready")) if owner.model else document.get("status") in LOCKED


Answer = Callable[[Service, Call], Mapping[str, Any] | Attachment]
"""Gives the ``data`` of the answer, or a download. Raises ApiError."""


class Endpoint(msgspec.Struct, frozen=True):
    """One row. ``since``: the version that it begins with, "1.0" for any; of several rows of one name the one with the
    highest version that fits the request answers."""

    name: str
    since: str
    answer: Answer
    fields: tuple[Field, ...] = ()
    records: bool = False
    """Whether it may change a run: then the gateway gets the call once it has succeeded."""

    @property
    def version(self) -> Version:
        """The numbers of ``since``."""
        return parsed(self.since)


def parsed(version: str) -> Version:
    """The numbers of a version.

    >>> parsed("2.14")
    (2, 14)
    """
    major, _, minor = version.partition(".")
    return int(major), int(minor or 0)


def checked(fields: tuple[Field, ...], data: Mapping[str, Any]) -> dict[str, Any]:
    """The request's data with each field checked, cast and defaulted.

    Args:
        fields: The fields of the endpoint.
        data: What was sent; what is not in ``fields`` stays.

    Raises:
        ApiError: 400/12, a field is missing, has a wrong type, or is out of bounds.

    >>> checked((Field("size", int, default=10), Field("task", required=True)), {"task": "t", "more": 1})
    {'task': 't', 'more': 1, 'size': 10}
    """
    fitted = dict(data)
    for field in fields:
        value = data.get(field.name, MISSING)
        if value is MISSING or value is None:
            _absent(field)
            fitted.pop(field.name, None)  # a null counts as not sent
            if field.default is not None:
                fitted[field.name] = field.default
        else:
            fitted[field.name] = _cast(field, value)
    return fitted


def _absent(field: Field) -> None:
    if field.required:
        if field.type is list and field.low:
            raise failed_validation(
                f"error for field '{field.name}'. value '[]' length is lower than allowed minimum '{field.low}'."
            )
        raise failed_validation(f"error for field '{field.name}'. field is required!")


def _cast(field: Field, value: Any) -> Any:
    if field.choices:
        if value not in field.choices:
            raise _wrong_type(field, value)
        return value
    if field.type is None:
        return value
    cast = _CASTS[field.type](value)
    if cast is MISSING:
        raise _wrong_type(field, value)
    _bounded(field, cast)
    return cast


def _wrong_type(field: Field, value: Any) -> ApiError:
    name = field.type_name or (field.type.__name__ if field.type else "")
    return failed_validation(
        f"error for field '{field.name}': ('value is wrong, expected type \"{name}\"', {value!r})."
    )


def _bounded(field: Field, value: Any) -> None:
    where = f"error for field '{field.name}'"
    if isinstance(value, list):
        shown = f"value '{str(value)[:1000]}' length is"
        if field.low is not None and len(value) < field.low:
            raise failed_validation(f"{where}: {shown} lower than allowed minimum '{field.low}'..")
        if field.high is not None and len(value) > field.high:
            raise failed_validation(f"{where}: {shown} bigger than allowed maximum '{field.high}'..")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if field.low is not None and value < field.low:
            raise failed_validation(f"{where}: '{value}' is lower than minimum ('{field.low}')..")
        if field.high is not None and value > field.high:
            raise failed_validation(f"{where}: '{value}' is bigger than maximum ('{field.high}')..")


def _number(kind: type, value: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        return MISSING


def _exactly(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else MISSING


_CASTS: dict[type, Callable[[Any], Any]] = {
    int: lambda value: _number(int, value),  # "7" is 7, as the server casts
    float: lambda value: _number(float, value),
    str: _exactly(str),
    bool: _exactly(bool),
    list: _exactly(list),
    dict: _exactly(dict),
}
