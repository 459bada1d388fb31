"""The log of a task and all its events in pages."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import msgspec

from otel_events.clearml_server.api.base import ApiError, Attachment, Call, Service, invalid_scroll
from otel_events.clearml_server.api.reads.requests import EMPTY_SCROLL, bounded, metrics_filter, single_owner, texts
from otel_events.clearml_server.api.reads.scrolls import packed, unpacked
from otel_events.clearml_server.store import Owner, Position

MAX_BATCH = 10_000
"""Events of one page at most, not counting those that complete its last iteration or time."""
_NAMES = frozenset(("asctime", "timestamp", "level", "worker", "msg"))


class EventsScroll(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of get_task_events, and the place where the last page ended."""

    task: str
    model: bool
    type: str
    descending: bool
    count: bool
    metrics: dict[str, list[str]]
    after: Position | None = None


def get_task_events(service: Service, call: Call) -> dict[str, Any]:
    """A page of events by iteration; those without one come last, log lines among them by time."""
    owner = single_owner(service, call)
    state = _events_state(call, owner)
    kinds = () if state.type == "*" else (state.type,)
    series = service.events.series([owner], kinds, state.metrics)
    limit = bounded(call.data["batch_size"], MAX_BATCH)
    page = service.events.page(series, descending=state.descending, after=state.after, limit=limit)
    state.after = page.end
    return {
        "returned": len(page.events),
        "total": page.total if state.count else None,
        "scroll_id": packed(state),
        "events": page.events,
    }


def _events_state(call: Call, owner: Owner) -> EventsScroll:
    scroll_id = call.data.get("scroll_id")
    if scroll_id:
        state = unpacked(scroll_id, EventsScroll)
        if state is None or (state.task, state.model) != owner:
            raise invalid_scroll(scroll_id)
        return state
    data = call.data
    return EventsScroll(
        owner.id, owner.model, data["event_type"], data["order"] == "desc", data["count_total"], metrics_filter(call)
    )


def get_task_log(service: Service, call: Call) -> dict[str, Any]:
    """Since 2.9: lines from a time on, earlier or later; the last time of a page is completed."""
    data = call.data
    earlier = data["navigate_earlier"]
    start = data.get("from_timestamp")
    page, _ = service.events.log(
        single_owner(service, call),
        descending=earlier,
        after=None if start is None else (start, _before(earlier)),
        limit=bounded(data["batch_size"], MAX_BATCH),
        metrics=metrics_filter(call),
        complete=True,
    )
    if data.get("order") and (data["order"] == "desc") != earlier:
        page.events.reverse()
    return {"events": page.events, "returned": len(page.events), "total": page.total}


def _before(earlier: bool) -> int:
    """A place beyond all lines of the start's own time, which are left out: before or after all their arrivals."""
    return -1 if earlier else 1 << 62


class LogScroll(msgspec.Struct):
    """Where a scroll of get_task_log before 2.9 stands."""

    owner: Owner
    descending: bool
    after: tuple[float, int] | None


def get_task_log_1_5(service: Service, call: Call) -> dict[str, Any]:
    """A page in the order that the call names, newest first by default."""
    down = call.data.get("order") != "asc"
    return _old_log(service, call, down, down)


def get_task_log_1_7(service: Service, call: Call) -> dict[str, Any]:
    """Pages go forward from the head or back from the tail; ``order`` is that of the lines in a page."""
    return _old_log(service, call, call.data["from"] == "tail", call.data.get("order") != "asc")


def _old_log(service: Service, call: Call, walk_down: bool, show_down: bool) -> dict[str, Any]:
    owner = single_owner(service, call)
    scroll_id, after = call.data.get("scroll_id"), None
    if scroll_id == EMPTY_SCROLL:
        return {"events": [], "returned": 0, "total": 0, "scroll_id": EMPTY_SCROLL}
    if scroll_id:
        state = service.scrolls.get(scroll_id, LogScroll)
        if state is None or state.owner != owner:
            raise invalid_scroll(scroll_id)
        walk_down, after = state.descending, state.after
    limit = bounded(call.data["batch_size"], MAX_BATCH)
    page, end = service.events.log(owner, descending=walk_down, after=after, limit=limit)
    if page.events:
        scroll_id = service.scrolls.put(LogScroll(owner, walk_down, end), scroll_id)
    else:
        service.scrolls.clear(scroll_id)
        scroll_id = EMPTY_SCROLL
    if walk_down != show_down:
        page.events.reverse()
    return {"events": page.events, "returned": len(page.events), "total": page.total, "scroll_id": scroll_id}


def download_task_log(service: Service, call: Call) -> Attachment:
    """Every line of the log, oldest first: as JSON, or by a template with names of _NAMES in braces."""
    owner = single_owner(service, call)
    parts = None
    if call.data["line_type"] != "json":
        parts = _template(call.data["line_format"])
    lines = _all_lines(service, owner)
    text = (_as_json(line) if parts is None else _as_text(line, parts) for line in lines)
    return Attachment(f"task_{owner.id}.log", "text/plain", (line.encode() + b"\n" for line in text))


def _template(text: str) -> list[tuple[str, str | None]]:
    """The template as (literal, field) pairs. Python's attribute access and formats are ignored: they could read more
    of the process than the line."""
    if not text:
        raise ApiError(400, 11, "Missing required fields (line_format is required for plain text lines)")
    try:
        parts = [(literal, name) for literal, name, _, _ in string.Formatter().parse(text)]
    except ValueError as error:
        raise ApiError(400, 16, f"Invalid value for fields (line format: {error})") from error
    if unknown := [name for _, name in parts if name is not None and name not in _NAMES]:
        names = ", ".join(unknown)
        raise ApiError(
            400, 16, f"Invalid value for fields (undefined placeholders in line format): placeholders=({names})"
        )
    return parts


def _all_lines(service: Service, owner: Owner) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page, after = service.events.log(owner, descending=False, after=after, limit=MAX_BATCH)
        if not page.events:
            return
        yield from page.events


def _as_json(line: dict[str, Any]) -> str:
    fields = {name: value for name, value in line.items() if name not in ("type", "task", "timestamp")}
    return msgspec.json.encode(fields | {"asctime": line["timestamp"]}).decode()


def _as_text(line: dict[str, Any], parts: list[tuple[str, str | None]]) -> str:
    fields = line | {"asctime": line["timestamp"]}
    return "".join(literal + ("" if name is None else str(fields.get(name, ""))) for literal, name in parts)


def clear_scroll(service: Service, call: Call) -> dict[str, Any]:
    """Forget the state of a scroll."""
    service.scrolls.clear(call.data.get("scroll_id"))
    return {}


def clear_task_log(service: Service, call: Call) -> dict[str, Any]:
    """Delete log lines of a task, by age and metric."""
    data = call.data
    owner = service.unlocked(Owner(data["task"]), data["allow_locked"])
    seconds = data.get("threshold_sec")
    deleted = service.retention.clear_log(
        owner,
        before_ms=call.now_ms - seconds * 1000 if seconds else None,
        include=texts("include_metrics", data.get("include_metrics")),
        exclude=texts("exclude_metrics", data.get("exclude_metrics")),
    )
    return {"deleted": deleted}


def delete_for_task(service: Service, call: Call) -> dict[str, Any]:
    """Delete the events of a task; its last metrics stay."""
    owner = service.unlocked(Owner(call.data["task"]), call.data["allow_locked"])
    return {"deleted": service.events.delete(owner, keep_summary=True)}


def delete_for_model(service: Service, call: Call) -> dict[str, Any]:
    """Delete the events of a model; its last metrics stay."""
    owner = service.unlocked(Owner(call.data["model"], model=True), call.data["allow_locked"])
    return {"deleted": service.events.delete(owner, keep_summary=True)}
