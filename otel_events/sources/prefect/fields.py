"""Fields that every Prefect record shares: times, texts, numbers, and the related resources."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import Scalar
from otel_events.model.times import from_rfc3339
from otel_events.sources.prefect.tables import AMBIENT, LABELS, NUMERIC_LABELS, ROLES

T = TypeVar("T")

LONGEST = 4096
"""Characters of a text that are put out; ``cut`` does that for attributes, once an event is made."""
SOURCE = "prefect"
FLOW_RUN, TASK_RUN, TAG = "prefect.flow-run.", "prefect.task-run.", "prefect.tag."
ID, NAME, ROLE = "prefect.resource.id", "prefect.resource.name", "prefect.resource.role"
PARENTS = "__parents__"
TRACEPARENT = "__OTEL_TRACEPARENT"

_CACHED_BYTES = 4096
"""Longest JSON of related resources that is remembered: all events of a flow run repeat it."""
_RUN_ROLES = {"flow-run": FLOW_RUN, "task-run": TASK_RUN}
_SMALL = {str(number): number for number in range(64)}  # nearly every run count
_STRUCTURE = frozenset({ID, NAME, ROLE})
_KIND = re.compile(r"prefect\.(?:docker\.container|kubernetes\.pod|ecs\.task|[a-z-]+)\.")


def nanoseconds(text: str, where: str) -> int:
    """Nanoseconds since the epoch, UTC, of an RFC 3339 time; DecodeError names ``where`` it stood."""
    try:
        return from_rfc3339(text)
    except ValueError:
        raise wrong(f"`{where}` is {text[:40]!r}, not a time after 1970 as in 2026-11-21T00:08:49.561924Z") from None


def wrong(what: str) -> DecodeError:
    """The error for a record that is not Prefect's: what, where, and what to do."""
    return DecodeError(
        f"not a Prefect record: {what}; give one event of /api/events/out or /api/events/filter, a page of them, or "
        "answers of GET /api/flow_runs and /api/task_runs (docs/sources.md)"
    )


def part(name: str, decoder: msgspec.json.Decoder[T], text: bytes) -> T:
    """Decode a part of the record; DecodeError names the part and the place in it."""
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise wrong(f"in `{name}`: {error}") from error


def cut(attributes: dict[str, Scalar]) -> None:
    """Shorten texts to LONGEST, in place."""
    for key, value in attributes.items():
        if isinstance(value, str) and len(value) > LONGEST:
            attributes[key] = value[:LONGEST]


def json_text(value: Any) -> str:
    """Compact JSON with sorted keys: the same value always gives the same text."""
    return msgspec.json.encode(value, order="sorted").decode()


def scalar(value: Any) -> Scalar:
    """An attribute's value: numbers as they are (64 bits), lists of texts comma-joined, other structures as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | float) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    if isinstance(value, list) and all(isinstance(element, str) for element in value):
        return ",".join(value)
    return json_text(value)


def number(text: str) -> Scalar:
    """The integer that a label holds, or the text itself where it holds none."""
    small = _SMALL.get(text)
    if small is not None:
        return small
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else text


def bare(resource_id: str) -> str:
    """``prefect.flow.{id}`` -> ``{id}``; an id of no Prefect kind as it is."""
    kind = _KIND.match(resource_id)
    return resource_id[kind.end() :] if kind else resource_id


def labels(attributes: dict[str, Scalar], resource: dict[str, str]) -> dict[str, str]:
    """Put the labels that the table knows into ``attributes``; returns the others (id, name and role are neither)."""
    others: dict[str, str] = {}
    for name, value in resource.items():
        if name in LABELS:
            attributes[LABELS[name]] = number(value) if name in NUMERIC_LABELS else value
        elif name not in _STRUCTURE:
            others[name] = value
    return others


class Context(msgspec.Struct, frozen=True):
    """Runs ("" where none), name of the flow and attributes of the related resources. Cached, so never changed."""

    flow_run: str
    flow_run_name: str
    task_run: str
    task_run_name: str
    workflow: str
    tags: frozenset[str]
    attributes: dict[str, Scalar]


_related = msgspec.json.Decoder(list[dict[str, str]] | None)


def context(related: bytes) -> Context:
    """Of the JSON text of ``related``; DecodeError where that is no list of objects with text labels."""
    return _remembered(related) if len(related) <= _CACHED_BYTES else _context(related)


def _context(related: bytes) -> Context:
    first: dict[str, dict[str, str]] = {}
    tags: set[str] = set()
    attributes: dict[str, Scalar] = {}
    others: list[dict[str, str]] = []
    for resource in part("related", _related, related) or () if related else ():
        role, own = resource.get(ROLE, ""), resource.get(ID, "")
        if role == "tag":
            tags.add(own.removeprefix(TAG))
        elif role in first:
            if role not in AMBIENT:
                others.append(resource)
        elif role in ROLES or own[: len(_RUN_ROLES.get(role, "?"))] == _RUN_ROLES.get(role):
            first[role] = resource
            if _describe(attributes, role, resource):
                others.append(resource)
        else:
            others.append(resource)
    if tags:
        attributes["prefect.tags"] = ",".join(sorted(tags))
    if others:
        attributes["prefect.related"] = json_text(others)
    return _new_context(first, frozenset(tags), attributes)


def _new_context(first: dict[str, dict[str, str]], tags: frozenset[str], attributes: dict[str, Scalar]) -> Context:
    flow_run, task_run, flow = (first.get(role, {}) for role in ("flow-run", "task-run", "flow"))
    return Context(
        flow_run.get(ID, "").removeprefix(FLOW_RUN),
        flow_run.get(NAME, ""),
        task_run.get(ID, "").removeprefix(TASK_RUN),
        task_run.get(NAME, ""),
        flow.get(NAME, "")[:LONGEST],
        tags,
        attributes,
    )


_remembered = lru_cache(maxsize=1024)(_context)


def add_other_task(attributes: dict[str, Scalar], prefix: str, where: Context) -> None:
    """Id and name of the task run of the roles, under ``prefix``, where it is not the event's own run."""
    attributes[f"{prefix}.id"] = where.task_run
    if where.task_run_name:
        attributes[f"{prefix}.name"] = where.task_run_name


def _describe(attributes: dict[str, Scalar], role: str, resource: dict[str, str]) -> bool:
    """Set the attributes of a related resource; returns whether it has labels that the tables do not list."""
    if role in ROLES:
        attributes[f"prefect.{ROLES[role]}.id"] = bare(resource.get(ID, ""))
        if resource.get(NAME):
            attributes[f"prefect.{ROLES[role]}.name"] = resource[NAME]
    return bool(labels(attributes, resource))
