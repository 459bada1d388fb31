"""Calls of ``tasks.*`` and ``models.*``: phases, artifacts, and logs of what else was changed.

Only these calls say the status of a task, its events never do. In an answer ``fields.status_changed`` is the time, and
``fields.status`` the server's word for the status.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from otel_events.model.event import AnyEvent, Error, Link, Log, PhaseChange, Report, Scalar
from otel_events.sources.clearml.fields import (
    Call,
    Events,
    digest,
    inside,
    iso,
    members,
    model_run,
    string,
    task_run,
    wrong,
)

PHASES: dict[str, str] = {
    "created": "pending",
    "queued": "pending",
    "in_progress": "running",
    "stopped": "cancelled",
    "failed": "failed",
    "completed": "succeeded",
    "closed": "succeeded",
    "published": "succeeded",
}
"""Status -> phase. A task that ended and is then published keeps its outcome, because the first one wins."""

STATUS: dict[str, str] = {
    "tasks.create": "created",
    "tasks.clone": "created",
    "tasks.enqueue": "queued",
    "tasks.dequeue": "created",
    "tasks.started": "in_progress",
    "tasks.stopped": "stopped",
    "tasks.failed": "failed",
    "tasks.completed": "completed",
    "tasks.close": "closed",
    "tasks.reset": "created",
    "tasks.publish": "published",
    "tasks.stop": "",
    "tasks.delete": "deleted",
}
"""Call -> status after it, for answers that do not say."""

AGAIN = ("tasks.reset", "tasks.enqueue", "tasks.started")
"""Calls that begin another attempt of a task that ended (a reset also of one that runs)."""
DEBUG, INFO, WARN = 5, 9, 13
_KINDS_OF_REASON = ("Exception", "Signal")
_SEVERITIES = {"tasks.ping": DEBUG, "tasks.get_by_id": DEBUG}
_FACTS = {"type": "clearml.task.type", "project": "clearml.project.id", "project_name": "clearml.project.name"}
_LISTS = {"tags": "clearml.task.tags", "system_tags": "clearml.task.system_tags"}


def decode(call: Call) -> Events:
    """The events of a call; none where it changes nothing."""
    if call.endpoint.startswith("models."):
        return [_model(call)]
    if call.endpoint.endswith("_many"):
        return [event for single in _each(call) for event in _events(single)]
    return list(_events(call))


def _each(call: Call) -> Iterator[Call]:
    """The single calls that a call for many tasks stands for, of those tasks for which the server succeeded."""
    done = call.data.get("succeeded")
    endpoint = call.endpoint.removesuffix("_many")
    for data in done if type(done) is list else ():
        if name := string(members(data).get("id")):
            yield Call(endpoint, call.time, {**call.body, "task": name}, data)


def _events(call: Call) -> Iterator[AnyEvent]:
    if call.endpoint == "tasks.get_by_id":
        yield from _facts_of(call)
        return
    creates = call.endpoint in ("tasks.create", "tasks.clone")
    task = string(call.data.get("id")) if creates else string(call.body.get("task"))
    if creates and not task:
        raise wrong(f"the answer of {call.endpoint} names no `id`")
    if not task:
        yield from (_other(call, named) for named in _named(call.body))
        return
    if call.endpoint in STATUS and call.data.get("updated") != 0:  # at 0 the status stayed as it was
        yield _change(call, task)
    elif call.endpoint == "tasks.add_or_update_artifacts":
        yield from _artifacts(call, task, call.body.get("artifacts"))
    else:
        yield _other(call, task)


def _named(body: dict[str, Any]) -> Iterator[str]:
    """Ids of a call for several tasks: ``tasks.archive``, ``tasks.move``."""
    for name in ("tasks", "ids"):
        ids = body.get(name)
        yield from (id_ for id_ in (ids if type(ids) is list else ()) if id_ and type(id_) is str)


def _id(call: Call, task: str, time: int, *more: object) -> str:
    return f"{task}:{call.endpoint}:{digest(time, sorted(call.body.items(), key=str), *more)}"


def _change(call: Call, task: str) -> PhaseChange | Log:
    fields = members(call.data.get("fields"))
    status = string(fields.get("status")) or STATUS[call.endpoint]
    time = iso(string(fields.get("status_changed"))) or call.time
    reason = string(fields.get("status_reason")) or string(call.body.get("status_reason"))
    message = string(fields.get("status_message")) or string(call.body.get("status_message"))
    phase = "cancelled" if status == "deleted" else PHASES.get(status)
    if phase is None:
        return _other(call, task)
    clone = call.endpoint == "tasks.clone"
    return PhaseChange(
        id=_id(call, task, time),
        time=time,
        run=task_run(task, string(call.body.get("new_task_name" if clone else "name"))),
        attributes=_facts(call.body, message if message != reason else ""),
        links=_links(call.body, clone, task),
        phase=phase,
        native=status,
        reason=reason or message,
        error=_error(reason, message) if phase == "failed" else None,
        next_attempt=call.endpoint in AGAIN,
    )


def _facts(body: dict[str, Any], message: str = "") -> dict[str, Scalar]:
    facts: dict[str, Scalar] = {key: text for name, key in _FACTS.items() if (text := string(body.get(name)))}
    for name, key in _LISTS.items():
        texts = body.get(name)
        if type(texts) is list and (text := ",".join(item for item in texts if type(item) is str)):
            facts[key] = string(text)
    if message:
        facts["clearml.task.status_message"] = message
    return facts


def _links(body: dict[str, Any], clone: bool, task: str) -> tuple[Link, ...]:
    """Links to the parent, and from a clone to its original."""
    parent = string(body.get("new_task_parent" if clone else "parent"))
    original = string(body.get("task")) if clone else ""
    relations = {"launched_by": parent, "follows": original if original != parent else ""}
    return tuple(Link(relation, id_, "task", id_) for relation, id_ in relations.items() if id_ and id_ != task)


def _error(reason: str, message: str) -> Error:
    """The error of a failure. The first word of its reason is a kind, not a class: ``Exception boom``,
    ``Signal None``."""
    kind = reason.partition(" ")[0]
    return Error(type=kind if kind in _KINDS_OF_REASON else "", message=reason or message, kind="user")


def _facts_of(call: Call) -> Iterator[AnyEvent]:
    """A log with the facts of a task. The SDK asks for a task after it has created it, and a task may have been created
    before anybody recorded its calls. The same facts are the same event, however often they are asked for."""
    task = members(call.data.get("task"))
    id_, name = string(task.get("id")), string(task.get("name"))
    if not (id_ and name):
        return
    facts = _facts(task)
    time = iso(string(task.get("created"))) or call.time
    links = _links(task, False, id_)
    yield Log(
        id=f"{id_}:{call.endpoint}:{digest(time, name, facts, links)}",
        time=time,
        run=task_run(id_, name),
        attributes=facts,
        links=links,
        message=f"task {name}",
        severity=DEBUG,
        event_name="clearml.tasks.get_by_id",
    )


def session(call: Call) -> Events:
    """The events of an offline session's task: it ran from the first event on; how it ended is unknown."""
    if not call.task:
        raise wrong("task.json names no `id`")
    events: Events = [
        PhaseChange(
            id=_id(call, call.task, call.time),
            time=call.time,
            run=task_run(call.task, string(call.body.get("name"))),
            attributes=_facts(call.body, string(call.body.get("status_message"))),
            links=_links(call.body, False, call.task),
            phase="running",
            native="offline",
        )
    ]
    return events + list(_artifacts(call, call.task, members(call.body.get("execution")).get("artifacts")))


def _artifacts(call: Call, task: str, artifacts: object) -> Iterator[AnyEvent]:
    for number, entry in enumerate(artifacts if type(artifacts) is list else ()):
        artifact = members(entry)
        about = members(artifact.get("type_data"))
        size = artifact.get("content_size")
        attributes: dict[str, Scalar] = {"clearml.artifact.type": string(artifact.get("type"))}
        if type(size) is int and 0 <= size < 2**63:
            attributes["clearml.artifact.size"] = size
        yield Report(
            id=_id(call, task, call.time, number),
            time=call.time,
            run=task_run(task),
            attributes=attributes,
            name=string(artifact.get("key")),
            media_type=string(about.get("content_type")),
            uri=inside(string(artifact.get("uri")), call.task),
        )


def _other(call: Call, task: str) -> Log:
    """A log with the names of the fields that a call changed. Their values are inputs, code and command lines, which
    must not reach telemetry."""
    changed = ", ".join(sorted(name for name in call.body if name not in ("task", "tasks", "ids", "force", "method")))
    return Log(
        id=_id(call, task, call.time),
        time=call.time,
        run=task_run(task, string(call.body.get("name")) if call.endpoint == "tasks.edit" else ""),
        message=f"{call.endpoint}: {changed}"[:1024] if changed else call.endpoint,
        severity=_SEVERITIES.get(call.endpoint, INFO),
        event_name=f"clearml.{call.endpoint}",
    )


def _model(call: Call) -> Log | Report:
    """A report of the task that a model names; a log where it names none."""
    model = string(call.data.get("id")) or string(call.body.get("model"))
    task, name = string(call.body.get("task")), string(call.body.get("name"))
    attributes: dict[str, Scalar] = {"clearml.model.id": model}
    if framework := string(call.body.get("framework")):
        attributes["clearml.model.framework"] = framework
    id_ = f"{model}:{call.endpoint}:{digest(call.time, sorted(call.body.items(), key=str))}"
    if task and name and call.endpoint in ("models.create", "models.edit"):
        uri = string(call.body.get("uri"))
        return Report(id=id_, time=call.time, run=task_run(task), attributes=attributes, name=name, uri=uri)
    return Log(
        id=id_,
        time=call.time,
        run=model_run(model),
        attributes=attributes,
        message=f"{call.endpoint} {name}".rstrip(),
        event_name=f"clearml.{call.endpoint}",
    )
