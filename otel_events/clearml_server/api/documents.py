"""What tasks, projects, models and queues have in common: they are documents of the store, which are created, searched,
changed and shown in part. Times are those of the server, as ISO 8601 with an offset.
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
"""Fields that every get_all takes. Fields of the documents are taken as filters too."""


def iso(now_ms: int) -> str:
    """The server's time as ISO 8601 with microseconds, which is how documents have it."""
    return datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="microseconds")


def touched(call: Call) -> Document:
    """Fields that every change sets."""
    now = iso(call.now_ms)
    return {"last_update": now, "last_change": now, "last_changed_by": call.user}


def fresh(call: Call, name: str) -> Document:
    """The fields that every new document begins with."""
    now = iso(call.now_ms)
    first = {"id": uuid.uuid4().hex, "company": call.company, "user": call.user, "name": name, "created": now}
    return {**first, "tags": [], "system_tags": [], **touched(call)}


def sent_fields(call: Call, names: Iterable[str]) -> Document:
    """Those of the named fields that the call has."""
    return {name: call.data[name] for name in names if call.data.get(name) is not None}


def change(
    service: Service, kind: str, key: str, update: Callable[[Document], Document], unknown: Callable[[], ApiError]
) -> Document:
    """Read, update and write one document as one step.

    Args:
        service: The service.
        kind: The kind of document.
        key: Its id.
        update: Gives the new document for the old one.
        unknown: Gives the error to raise where there is no such document.

    Returns:
        The changed document.
    """
    changed = service.documents.change(kind, key, update)
    if changed is None:
        raise unknown()
    return changed


def artifacts(sent: Any) -> list[Document]:
    """The sent artifacts that have a key. One without a mode is an output, as clients expect."""
    entries = sent if isinstance(sent, list) else ()
    return [{"mode": OUTPUT, **entry} for entry in entries if isinstance(entry, dict) and entry.get("key")]


def merged(document: Document, fields: Mapping[str, Any], nested: Sequence[str] = ()) -> Document:
    """The document with ``fields`` replaced; of the fields in ``nested`` only the members that are sent."""
    changed = dict(document)
    for name, value in fields.items():
        before = changed.get(name)
        if name in nested and isinstance(before, dict) and isinstance(value, dict):
            value = {**before, **value}
        changed[name] = value
    return changed


def with_summary(document: Document, summary: Summary) -> Document:
    """The document with the last metrics and times of its events."""
    full = {**document, "last_iteration": summary.last_iteration, "last_metrics": summary.last_metrics}
    full["metric_stats"] = summary.metric_stats
    if summary.last_update is not None:
        at = iso(summary.last_update)
        full |= {name: max(at, str(document.get(name) or "")) for name in ("last_update", "last_change")}
    return full


# --- questions -------------------------------------------------------------------------------------------------------


def matching(service: Service, call: Call, kind: str) -> list[Document]:
    """The documents that the call's filters let through, of all pages."""
    wanted = call.data.get("id")
    ids = None if wanted is None else filters.texts("id", wanted)
    tests = filters.conditions(call.data)
    documents = service.documents.find(kind, ids=ids)
    return [document for document in documents if all(test(document) for test in tests)]


def unhidden(call: Call, documents: list[Document]) -> list[Document]:
    """The documents without the system tag HIDDEN; all where the call asks for hidden ones, or for certain ids."""
    if call.data.get("search_hidden") or call.data.get("id"):
        return documents
    return [document for document in documents if HIDDEN not in (document.get("system_tags") or ())]


def orders_by(call: Call, fields: tuple[str, ...]) -> bool:
    """Whether the call orders its documents by one of these top-level fields, or by a member of one."""
    return any(name.removeprefix("-").partition(".")[0] in fields for name in _order(call))


def _order(call: Call) -> list[str]:
    return filters.texts("order_by", call.data.get("order_by") or [])


class _Place(msgspec.Struct, frozen=True):
    """Where a scroll stands: how many documents it has shown."""

    position: int


def page(service: Service, call: Call, documents: list[Document]) -> tuple[list[Document], Document]:
    """One page of the documents, in the order that the call names.

    Args:
        service: The service, which keeps the places of scrolls.
        call: Pages by ``page`` and ``page_size`` (MAX_PAGE by default), or by ``scroll_id`` (null at first) and
            ``size``.
        documents: The documents of all pages.

    Returns:
        The page, and further members of the answer.
    """
    ordered = documents
    if names := _order(call):
        ordered = sorted(documents, key=lambda document: str(document["id"]))  # ties: no document on two pages
        for name in reversed(names):
            ordered = _sorted(ordered, name)
    if "scroll_id" in call.data:
        return _scrolled(service, call, ordered)
    size = min(call.data.get("page_size", MAX_PAGE), MAX_PAGE)
    first = call.data.get("page", 0) * size
    return ordered[first : first + size], {}


def _scrolled(service: Service, call: Call, ordered: list[Document]) -> tuple[list[Document], Document]:
    """The next documents; with ``refresh_scroll`` all that were shown, once more. An unknown scroll begins anew."""
    size = call.data.get("size")
    if size is None:
        raise failed_validation("error for field 'size'. field is required with a scroll_id!")
    place = service.scrolls.get(call.data["scroll_id"], _Place)
    shown_before = place.position if place else 0
    first = 0 if call.data.get("refresh_scroll") else shown_before
    last = first + max(min(size, MAX_PAGE), shown_before - first)
    shown_now = ordered[first:last]
    scroll_id = call.data["scroll_id"] if place else None
    return shown_now, {"scroll_id": service.scrolls.put(_Place(first + len(shown_now)), scroll_id)}


def _sorted(documents: list[Document], name: str) -> list[Document]:
    field = name.removeprefix("-").removeprefix("@")

    def key(document: Document) -> tuple[bool, str, float]:
        value = member(document, field)
        number = float(value) if isinstance(value, int | float) else 0.0
        return value is not None, "" if isinstance(value, int | float) else str(value), number

    return sorted(documents, key=key, reverse=name.startswith("-"))


def shown(call: Call, document: Document) -> Document:
    """The document, or the fields of it that ``only_fields`` names, and always its id."""
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
    """Whether the call's ``only_fields`` let any of these top-level fields through."""
    names = call.data.get("only_fields")
    return not names or any(str(name).partition(".")[0] in fields for name in names)


def member(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    value: Any = document
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
