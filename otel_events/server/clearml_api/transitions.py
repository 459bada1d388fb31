"""The status of a task: which call leads where, from where it may, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from otel_events.server.clearml_api.base import TASK, ApiError, Call, Endpoint, Field, Service
from otel_events.server.clearml_api.documents import iso, touched
from otel_events.server.clearml_api.filters import Document
from otel_events.store import Owner

ID = Field("task", required=True)
FORCE = Field("force", bool, default=False)
REASON = (Field("status_reason"), Field("status_message"))

Told = Callable[[Service, Call], Mapping[str, Any]]

ENDED = ("stopped", "closed", "failed", "completed")
OPEN = ("created", "queued", "in_progress")


class Transition(msgspec.Struct, frozen=True):
    """``sources``: statuses from which it goes without force; the one it leads to is always among them. ``stamps``:
    fields of the task that get the time. ``reason``: what is told where the call tells none."""

    call: str
    status: str
    sources: tuple[str, ...]
    stamps: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    reason: str = ""


TRANSITIONS = (
    Transition(
        "started", "in_progress", ("created", "queued", "stopped", "failed", "completed"), ("started",), ("started",)
    ),
    Transition("stopped", "stopped", (*OPEN, "failed", "completed"), ("completed",)),
    Transition("stop", "stopped", (*OPEN, "failed", "completed"), ("completed",)),
    Transition("failed", "failed", (*OPEN, "stopped", "completed"), ("completed",)),
    Transition("completed", "completed", (*OPEN, "stopped"), ("completed",), ("published",)),
    Transition("close", "closed", ("in_progress", *ENDED), ()),
    Transition("publish", "published", (*ENDED, "publishing"), ("published",)),
)


def unknown(service: Service, task: str) -> ApiError:
    return ApiError(400, 101, f"Invalid task id: id={task}, company={service.company}")


def move(service: Service, call: Call, task: str, to: Transition) -> Mapping[str, Any]:
    """Change the status of a task. ApiError 400/101 (unknown), 400/110 (not from its status)."""
    reason = {"status_reason": call.data.get("status_reason") or to.reason}
    fields: Document = {"status": to.status, **reason, "status_message": call.data.get("status_message") or ""}
    fields |= {"status_changed": iso(call.now_ms), **touched(call)}

    def update(document: Document) -> Document:
        expect(document, (to.status, *to.sources), call)
        return {**document, **fields, **dict.fromkeys(to.stamps, fields["status_changed"])}

    if service.store.change(TASK, task, update) is None:
        raise unknown(service, task)
    told = {**fields, **dict.fromkeys(to.stamps, fields["status_changed"])}
    if to.status == "published":
        told["output"] = {}
    counts = {name: int(name != "published" or bool(call.data.get("publish"))) for name in to.counts}
    return {**counts, "updated": 1, "fields": told}


def expect(document: Document, statuses: tuple[str, ...], call: Call) -> None:
    """ApiError 400/110, unless the task has one of these statuses or the call insists."""
    status = document.get("status")
    if status not in statuses and not call.data.get("force"):
        wanted = ", ".join(statuses)
        raise ApiError(400, 110, f"Invalid task status: id={document['id']}, status={status}, expected=({wanted})")


def _answer(to: Transition) -> Told:
    def answer(service: Service, call: Call) -> Mapping[str, Any]:
        told = move(service, call, call.data["task"], to)
        if to.status == "completed" and call.data.get("publish"):
            return {**told, "fields": move(service, call, call.data["task"], PUBLISH)["fields"]}
        return told

    return answer


PUBLISH = next(one for one in TRANSITIONS if one.call == "publish")


# --- back to the beginning -------------------------------------------------------------------------------------------


def reset(service: Service, call: Call) -> Mapping[str, Any]:
    """Its events go, and what it told of its end; what is started then is the next attempt of the same task."""
    task = call.data["task"]
    fields: Document = {"status": "created", "status_reason": "reset", "status_message": "reset"}
    fields |= {"status_changed": iso(call.now_ms), **touched(call)}

    def update(document: Document) -> Document:
        expect(document, (*OPEN, *ENDED), call)
        left = {name: value for name, value in document.items() if name not in ("started", "completed", "published")}
        execution = {**left.get("execution", {}), "artifacts": []}
        execution.pop("queue", None)
        return {**left, **fields, "output": {}, "execution": execution}

    if service.store.change(TASK, task, update) is None:
        raise unknown(service, task)
    service.store.delete(Owner(task, False))
    return {"updated": 1, "fields": fields, "deleted_models": 0, "dequeued": {}, "events": {}, "urls": {}}


def many(answer: Told, *shown: str) -> Told:
    """The same for each of ``ids``: what is refused for one is done for the others."""

    def answer_many(service: Service, call: Call) -> Mapping[str, Any]:
        done: list[Document] = []
        failed: list[Document] = []
        for task in call.data["ids"]:
            one = Call(call.endpoint, call.version, {**call.data, "task": task}, now_ms=call.now_ms)
            one.user, one.company = call.user, call.company
            try:
                told = answer(service, one)
                done.append({"id": task, **{name: told[name] for name in shown if name in told}})
            except ApiError as error:
                codes = [error.code, error.subcode]
                failed.append({"id": task, "error": {"codes": codes, "msg": error.message, "data": {}}})
        return {"succeeded": done, "failed": failed}

    return answer_many


_MANY = (Field("ids", list, required=True, low=1, high=1_000), FORCE, *REASON)

ENDPOINTS = (
    *(
        Endpoint(f"tasks.{one.call}", "1.0", _answer(one), (ID, FORCE, *REASON, Field("publish", bool)), records=True)
        for one in TRANSITIONS
    ),
    *(
        Endpoint(f"tasks.{one.call}_many", "1.0", many(_answer(one), "updated", "fields"), _MANY, records=True)
        for one in TRANSITIONS
        if one.call in ("stop", "publish", "completed")
    ),
    Endpoint("tasks.reset", "1.0", reset, (ID, FORCE), records=True),
    Endpoint("tasks.reset_many", "1.0", many(reset, "updated", "fields"), _MANY, records=True),
)
