"""What tasks, projects, models and queues have in common: documents of the store that are made, found, changed and
shown in part. Times are those of the server, as ISO 8601 with an offset.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from otel_events.clearml_server.api import filters
from otel_events.clearml_server.api.base import ApiError, Call, Field, Service, failed_validation
from otel_events.clearml_server.api.filters import Document
from otel_events.clearml_server.store import Summary

OUTPUT = "output"
"""The mode of artifacts."""
HIDDEN = "hidden"
MAX_PAGE = 500
"""Documents in an answer."""
IDS = Field("id", None)
ONLY_FIELDS = Field("only_fields", list)
QUERY = (
    *(IDS, ONLY_FIELDS, Field("page", int, low=0), Field("page_size", int, low=1), Field("order_by", None)),
    *(Field("size", int, low=1), Field("refresh_scroll", bool)),
    *(Field("name"), Field("tags", list), Field("system_tags", list), Field("search_hidden", bool, default=False)),
)
"""What every get_all takes. Fields that a document has are taken as filters too."""


def new_id() -> str:
    return uuid.uuid4().hex


def iso(now_ms: int) -> str:
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="microseconds")


def touched(call: Call) -> Document:
    """Fields that every change sets."""
    now = iso(call.now_ms)
    return {"last_update": now, "last_change": now, "last_changed_by": call.user}


def made(call: Call, name: str) -> Document:
    """The beginning of every document."""
    now = iso(call.now_ms)
    first = {"id": new_id(), "company": call.company, "user": call.user, "name": name, "created": now}
    return {**first, "tags": [], "system_tags": [], **touched(call)}


def given(call: Call, names: Iterable[str]) -> Document:
    """Those of the fields that the call has."""
    return {name: call.data[name] for name in names if call.data.get(name) is not None}


def change(
    service: Service, kind: str, key: str, update: Callable[[Document], Document], unknown: Callable[[], ApiError]
) -> Document:
    """Read, update, write one document as one step; ``unknown`` where there is none."""
    found = service.documents.change(kind, key, update)
    if found is None:
        raise unknown()
    return found


def artifacts(told: Any) -> list[Document]:
    """Those that have a key; what does not tell its mode is an output, as clients take for granted."""
    entries = told if isinstance(told, list) else ()
    return [{"mode": OUTPUT, **one} for one in entries if isinstance(one, dict) and one.get("key")]


def merged(document: Document, fields: Mapping[str, Any], nested: Sequence[str] = ()) -> Document:
    """``document`` with ``fields`` put in; of those in ``nested`` only the members that are given are replaced."""
    found = dict(document)
    for name, value in fields.items():
        have = found.get(name)
        if name in nested and isinstance(have, dict) and isinstance(value, dict):
            value = {**have, **value}
        found[name] = value
    return found


def summed_up(document: Document, told: Summary) -> Document:
    """With what its events say of it."""
    found = {**document, "last_iteration": told.last_iteration, "last_metrics": told.last_metrics}
    found["metric_stats"] = told.metric_stats
    if told.last_update is not None:
        at = iso(told.last_update)
        found |= {name: max(at, str(document.get(name) or "")) for name in ("last_update", "last_change")}
    return found


# --- questions -------------------------------------------------------------------------------------------------------


def found(service: Service, call: Call, kind: str) -> list[Document]:
    """The documents that the call asks for, as they are kept, all pages."""
    asked = call.data.get("id")
    ids = None if asked is None else filters.texts("id", asked)
    tests = filters.conditions(call.data)
    documents = service.documents.find(kind, ids=ids)
    return [one for one in documents if all(test(one) for test in tests)]


def unhidden(call: Call, documents: list[Document]) -> list[Document]:
    """Those without the system tag HIDDEN, unless the call asks for them too, or for certain ids."""
    if call.data.get("search_hidden") or call.data.get("id"):
        return documents
    return [one for one in documents if HIDDEN not in (one.get("system_tags") or ())]


def orders_by(call: Call, fields: tuple[str, ...]) -> bool:
    """Whether one of these top-level fields, or what is in it, tells the order."""
    return any(name.removeprefix("-").partition(".")[0] in fields for name in _order(call))


def _order(call: Call) -> list[str]:
    return filters.texts("order_by", call.data.get("order_by") or [])


class _Place(msgspec.Struct, frozen=True):
    """Of a scroll: how many documents were shown."""

    position: int


def page(service: Service, call: Call, documents: list[Document]) -> tuple[list[Document], Document]:
    """The documents of the page that was asked for, in the order that was asked for, and what the answer has besides.

    By ``page`` and ``page_size`` (MAX_PAGE where none is told), or by ``scroll_id`` (null at first) and ``size``.
    """
    ordered = documents
    if names := _order(call):
        ordered = sorted(documents, key=lambda one: str(one["id"]))  # so that pages fit together
        for name in reversed(names):
            ordered = _sorted(ordered, name)
    if "scroll_id" in call.data:
        return _scrolled(service, call, ordered)
    size = min(call.data.get("page_size", MAX_PAGE), MAX_PAGE)
    first = call.data.get("page", 0) * size
    return ordered[first : first + size], {}


def _scrolled(service: Service, call: Call, ordered: list[Document]) -> tuple[list[Document], Document]:
    """What follows; with ``refresh_scroll`` all that was shown, once more. An unknown scroll begins anew."""
    size = call.data.get("size")
    if size is None:
        raise failed_validation("error for field 'size'. field is required with a scroll_id!")
    place = service.scrolls.get(call.data["scroll_id"], _Place)
    shown_before = place.position if place else 0
    first = 0 if call.data.get("refresh_scroll") else shown_before
    last = first + max(min(size, MAX_PAGE), shown_before - first)
    found = ordered[first:last]
    kept = call.data["scroll_id"] if place else None
    return found, {"scroll_id": service.scrolls.put(_Place(first + len(found)), kept)}


def _sorted(documents: list[Document], name: str) -> list[Document]:
    field = name.removeprefix("-").removeprefix("@")

    def key(document: Document) -> tuple[bool, str, float]:
        value = member(document, field)
        number = float(value) if isinstance(value, int | float) else 0.0
        return value is not None, "" if isinstance(value, int | float) else str(value), number

    return sorted(documents, key=key, reverse=name.startswith("-"))


def shown(call: Call, document: Document) -> Document:
    """The document, or of it what ``only_fields`` names; the id always."""
    names = call.data.get("only_fields")
    if not names:
        return document
    part: Document = {"id": document["id"]}
    for name in names:
        *above, last = str(name).split(".")
        holder = member(document, ".".join(above)) if above else document
        if not isinstance(holder, dict) or last not in holder:
            continue
        inner = part
        for step in above:
            inner = inner.setdefault(step, {})
        inner[last] = holder[last]
    return part


def wants(call: Call, *fields: str) -> bool:
    """Whether any of these top-level fields is asked for."""
    names = call.data.get("only_fields")
    return not names or any(str(name).partition(".")[0] in fields for name in names)


def member(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
