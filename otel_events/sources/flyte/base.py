"""What the Flyte decoders share: phases, identities, times, errors and the text forms of attributes.

Rules follow flyteorg/flyte v1.16.8 (flyteidl/protos, propeller's events, flyteadmin's transition checks).
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from flyteidl.core import catalog_pb2, execution_pb2, identifier_pb2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from otel_events.model.bounded import remember
from otel_events.model.errors import DecodeError
from otel_events.model.event import Error, ErrorKind, Link, Scalar
from otel_events.model.times import LAST, SECOND

SOURCE = "flyte"
VALUE_LIMIT = 4096
"""Characters of the text of an attribute; longer texts are cut. Messages and reasons are no attributes."""
CACHE_LIMIT = 8_192
"""Entries of each cache, up to 3 kB each. A full cache is emptied, so that memory stays bounded."""
SLASH, _SEPARATORS = frozenset("/"), frozenset("/:")
"""The separators of ids: the names of an execution hold none of them, those of a node no slash."""
UPGRADE = "upgrade the flyteidl package if Flyte is newer than it, else ask the producer for a valid record"

WORKFLOW_PHASES: dict[int, tuple[str, str]] = {
    1: ("QUEUED", "pending"),
    2: ("RUNNING", "running"),
    3: ("SUCCEEDING", "finalizing"),
    4: ("SUCCEEDED", "succeeded"),
    5: ("FAILING", "finalizing"),
    6: ("FAILED", "failed"),
    7: ("ABORTED", "cancelled"),
    8: ("TIMED_OUT", "timed_out"),
    9: ("ABORTING", "finalizing"),
}
NODE_PHASES: dict[int, tuple[str, str]] = {
    1: ("QUEUED", "pending"),
    2: ("RUNNING", "running"),
    3: ("SUCCEEDED", "succeeded"),
    4: ("FAILING", "finalizing"),
    5: ("FAILED", "failed"),
    6: ("ABORTED", "cancelled"),
    7: ("SKIPPED", "skipped"),
    8: ("TIMED_OUT", "timed_out"),
    9: ("DYNAMIC_RUNNING", "running"),
    10: ("RECOVERED", "succeeded"),
}
TASK_PHASES: dict[int, tuple[str, str]] = {
    1: ("QUEUED", "pending"),
    2: ("RUNNING", "running"),
    3: ("SUCCEEDED", "succeeded"),
    4: ("ABORTED", "cancelled"),
    5: ("FAILED", "failed"),
    6: ("INITIALIZING", "pending"),
    7: ("WAITING_FOR_RESOURCES", "pending"),
    8: ("RETRYABLE_FAILED", "failed"),
}
"""Number on the wire -> (Flyte's word, our phase). The same number means different things at each level."""


def enum_text(descriptor: EnumDescriptor, prefix: str = "") -> dict[int, str]:
    """Number -> name in lower case without ``prefix``, of every value but 0 (a proto3 default says nothing)."""
    return {value.number: value.name.removeprefix(prefix).lower() for value in descriptor.values if value.number}


CACHE_STATUS = enum_text(catalog_pb2.CatalogCacheStatus.DESCRIPTOR, "CACHE_") | {0: "disabled"}
RESERVATION = enum_text(catalog_pb2.CatalogReservation.Status.DESCRIPTOR, "RESERVATION_")
RESOURCE_TYPE = enum_text(identifier_pb2.ResourceType.DESCRIPTOR)
ERROR_KIND: dict[int, ErrorKind] = {1: "user", 2: "system"}
SYSTEM = execution_pb2.ExecutionError.SYSTEM


def cut(value: str) -> str:
    """The first VALUE_LIMIT characters."""
    return value if len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT]


class Fields(NamedTuple):
    """Fields of a message and the attributes that they become."""

    values: Callable[[Any], tuple[Any, ...]]
    attributes: tuple[str, ...]


def fields(*rows: tuple[str, str]) -> Fields:
    """A table of (field, attribute) rows, for ``put``."""
    names = tuple(field for field, _ in rows)
    values = attrgetter(*names) if len(names) > 1 else lambda message: (getattr(message, names[0]),)
    return Fields(values, tuple(attribute for _, attribute in rows))


def put(attributes: dict[str, Scalar], message: Any, table: Fields) -> None:
    """Copy the fields that ``table`` names and that are not their proto3 default."""
    for attribute, value in zip(table.attributes, table.values(message), strict=True):
        if value:
            attributes[attribute] = cut(value) if isinstance(value, str) else value


def put_enum(attributes: dict[str, Scalar], attribute: str, number: int, texts: dict[int, str]) -> None:
    """The text of an enum; a number that this flyteidl does not know as its digits; 0 not at all."""
    if number:
        attributes[attribute] = texts.get(number) or str(number)


def nanoseconds(time: Timestamp) -> int:
    """Nanoseconds since the epoch."""
    value: int = time.seconds * SECOND + time.nanos
    return value


def occurred(time: Timestamp, where: str) -> int:
    """Nanoseconds of the time an event rests on. DecodeError when it is missing, the epoch or before, or too late."""
    value = nanoseconds(time)
    if 0 < value <= LAST and 0 <= time.nanos < SECOND:
        return value
    if not value:
        raise DecodeError(f"{where} is missing or the epoch: without a time there is no event; ask the producer for it")
    raise DecodeError(f"{where} is {time.seconds} s + {time.nanos} ns: not between 1970 and 2262; check its clock")


def put_time(attributes: dict[str, Scalar], attribute: str, message: Any, field: str) -> None:
    """Set an attribute to a time in nanoseconds since the epoch; the epoch itself means that the time was not set."""
    time = nanoseconds(getattr(message, field))
    if time:
        attributes[attribute] = time


def phase_of(number: int, phases: dict[int, tuple[str, str]], where: str) -> tuple[str, str]:
    """(native, phase). DecodeError for UNDEFINED and for a number that is not in the table."""
    try:
        return phases[number]
    except KeyError:
        problem = "UNDEFINED" if not number else f"{number}, which is unknown"
        words = ", ".join(row[0] for row in phases.values())
        raise DecodeError(f"{where} is {problem}; known: {words}; {UPGRADE}") from None


def name_part(value: str, where: str, forbidden: frozenset[str] = frozenset()) -> str:
    """A part of an id, checked: there, printable, without the separators in ``forbidden``. Else DecodeError."""
    if value and value.isprintable() and forbidden.isdisjoint(value):
        return value
    if not value:
        raise DecodeError(f"{where} is missing: the event belongs to no run; ask the producer for a complete record")
    raise DecodeError(f"{where} is {value[:80]!r}: not a name that Flyte gives; check the record's type and origin")


class Execution(NamedTuple):
    """A workflow execution: the root of its runs."""

    root: str
    namespace: str
    key: str
    """Head of the event ids: ``project:domain:name``, as propeller's own dedupe keys."""
    attributes: dict[str, Scalar]
    place: list[str]
    """Project and domain."""


_execution_parts = attrgetter("project", "domain", "name", "org")
_EXECUTIONS: dict[tuple[str, str, str, str], Execution] = {}


def execution(identifier: Any, where: str) -> Execution:
    """The run ids of a WorkflowExecutionIdentifier; DecodeError names the part that is missing or cannot be."""
    key = _execution_parts(identifier)
    return _EXECUTIONS.get(key) or remember(_EXECUTIONS, key, make_execution(identifier, where), CACHE_LIMIT)


def make_execution(identifier: Any, where: str) -> Execution:
    """The run ids of an identifier, without the cache; DecodeError as in ``execution``."""
    project, domain, name, org = _execution_parts(identifier)
    for part, value in (("project", project), ("domain", domain), ("name", name)):
        if not (value and value.isprintable() and _SEPARATORS.isdisjoint(value)):
            name_part(value, f"{where}.{part}", _SEPARATORS)
    namespace = f"{project}/{domain}"
    attributes: dict[str, Scalar] = {
        "flyte.project": cut(project),
        "flyte.domain": cut(domain),
        "flyte.execution": cut(name),
    }
    if org:
        attributes["flyte.org"] = cut(org)
    return Execution(f"{namespace}/{name}", namespace, f"{project}:{domain}:{name}", attributes, [project, domain])


def is_named(identifier: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
    """Whether the identifier is one of a run: complete and printable."""
    parts = (identifier.project, identifier.domain, identifier.name)
    return all(part and part.isprintable() for part in parts)


_identifier_parts = attrgetter("project", "domain", "name", "version", "org")


def execution_text(identifier: identifier_pb2.WorkflowExecutionIdentifier) -> str:
    """``project/domain/name[/org]``."""
    parts = (identifier.project, identifier.domain, identifier.name, identifier.org)
    return cut("/".join(part for part in parts if part))


def identifier_text(identifier: identifier_pb2.Identifier) -> str:
    """``type:project:domain:name:version[:org]``, parts that are missing left out; "" for an empty identifier."""
    kind = RESOURCE_TYPE.get(identifier.resource_type, str(identifier.resource_type or ""))
    parts = (kind, *_identifier_parts(identifier))
    return cut(":".join(part for part in parts if part))


def put_task_execution(
    attributes: dict[str, Scalar], prefix: str, identifier: identifier_pb2.TaskExecutionIdentifier
) -> None:
    """Another attempt by its names: ``{prefix}`` (run id), ``.attempt`` (from 1), ``.task`` (definition), ``.org``."""
    node = identifier.node_execution_id
    parts = (node.execution_id.project, node.execution_id.domain, node.execution_id.name)
    attributes[prefix] = cut("/".join((*parts, node.node_id, identifier.task_id.name)))
    attributes[f"{prefix}.attempt"] = identifier.retry_attempt + 1
    attributes[f"{prefix}.task"] = identifier_text(identifier.task_id)
    if node.execution_id.org:
        attributes[f"{prefix}.org"] = cut(node.execution_id.org)


def cached_from(identifier: identifier_pb2.TaskExecutionIdentifier) -> tuple[Link, ...]:
    """The link to the attempt that filled the cache; none when it is not named in full."""
    node = identifier.node_execution_id
    if not (is_named(node.execution_id) and node.node_id and identifier.task_id.name):
        return ()
    source = execution(node.execution_id, "source_task_execution.node_execution_id.execution_id")
    run = f"{source.root}/{node.node_id}/{identifier.task_id.name}"
    attempt = identifier.retry_attempt + 1
    return (Link("cached_from", run, "task", source.root, attempt, namespace=source.namespace),)


def launches(attributes: dict[str, Scalar], message: Any) -> tuple[Link, ...]:
    """The execution that a launch plan node started, as attribute and link; none until Flyte names it."""
    child = message.workflow_node_metadata.execution_id
    if not is_named(child):
        return ()
    attributes["flyte.launches"] = execution_text(child)
    launched = execution(child, "workflow_node_metadata.execution_id")
    return (Link("launches", launched.root, "workflow", launched.root, namespace=launched.namespace),)


_ERROR = fields(("error_uri", "flyte.error.uri"), ("worker", "flyte.error.worker"))


def put_error(attributes: dict[str, Scalar], error: execution_pb2.ExecutionError) -> Error:
    """The error of an event; values for which Error has no field become attributes ``flyte.error.*``."""
    put(attributes, error, _ERROR)
    put_time(attributes, "flyte.error.timestamp", error, "timestamp")
    if error.kind and error.kind not in ERROR_KIND:
        attributes["flyte.error.kind"] = str(error.kind)
    return Error(error.code, error.message, ERROR_KIND.get(error.kind, ""))
