"""What a task says of the objects that it returns: partitions, and items that tell of themselves.

    tracker = current_context().output_metadata_tracker
    tracker.add(frame, OutputMetadata(dynamic_partitions={"region": "eu"}, time_partition=datetime.now()))
    return frame

At the end of the attempt it is on the span: ``otel_events.output.{variable}.{key}`` for each item, where ``variable``
is ``o0`` (a single output), ``o0`` to ``oN`` or the field's name (a tuple), or the key (a dict of outputs); and a span
event ``otel_events.output`` for each object. Of an object that is not returned, only the event, without ``variable``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from otel_events.inprocess.queue import fault
from otel_events.model.event import MOMENTS, Scalar

if TYPE_CHECKING:
    from otel_events.inprocess.context import TaskContext

OBJECTS = 64
"""Objects of one attempt that are kept track of."""
ITEMS = 64
"""Partitions and additional items of one object."""
LONGEST = 4_096
"""Characters of a value; what is longer is cut."""
FAULT = "output metadata of a task"


@runtime_checkable
class SerializableToString(Protocol):
    """An additional item: tells its key and its value for the variable that its object is returned as."""

    def serialize_to_string(self, ctx: TaskContext, variable_name: str) -> tuple[str, str]: ...


class OutputMetadata:
    """What is said of one object. ``artifact`` is taken as flytekit has it; its ``name``, if it has one, is told."""

    def __init__(
        self,
        artifact: object = None,
        dynamic_partitions: Mapping[str, str] | None = None,
        time_partition: datetime | None = None,
        additional_items: Sequence[SerializableToString] | None = None,
    ) -> None:
        self.artifact, self.time_partition = artifact, time_partition
        self.dynamic_partitions, self.additional_items = dynamic_partitions, additional_items


class OutputMetadataTracker:
    """Of one attempt. Objects are known by identity, and held until its end so that it stays theirs."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[object, OutputMetadata, int]] = {}

    def add(self, obj: object, metadata: OutputMetadata) -> None:
        """Say something of an object; again: in place of what was said."""
        if len(self._kept) < OBJECTS or id(obj) in self._kept:
            self._kept[id(obj)] = obj, metadata, time.time_ns()
        else:
            fault(FAULT, OverflowError(f"more than {OBJECTS} objects in one attempt"))

    def get(self, obj: object) -> OutputMetadata | None:
        """What was said of an object."""
        found = self._kept.get(id(obj))
        return found[1] if found else None

    def attributes(self, context: TaskContext, result: object) -> dict[str, Scalar]:
        """Attributes of the outcome: of the objects in ``result`` by variable, and a moment for each object."""
        found: dict[str, Scalar] = {}
        moments = []
        names = dict(_variables(result))
        for key, (_, metadata, at) in list(self._kept.items()):
            variable = names.get(key, "")
            items = dict(_items(context, metadata, variable))
            if variable:
                found |= {f"otel_events.output.{variable}.{name}": value for name, value in items.items()}
            named = {"otel_events.output.name": variable} if variable else {}
            moments.append(("otel_events.output", at, named | items))
        if moments:
            found[MOMENTS] = msgspec.json.encode(moments).decode()
        return found


def _variables(result: object) -> Iterator[tuple[int, str]]:
    """(identity, variable) of each output."""
    if isinstance(result, tuple):
        fields = getattr(result, "_fields", ())
        for number, one in enumerate(result):
            yield id(one), str(fields[number]) if number < len(fields) else f"o{number}"
    elif type(result) is dict:
        for key, one in result.items():
            if type(key) is str:
                yield id(one), key
    yield id(result), "o0"


def _items(context: TaskContext, metadata: OutputMetadata, variable: str) -> Iterator[tuple[str, str]]:
    """(key, value) of all that is said; an item that fails is counted and left out."""
    partitions = list((metadata.dynamic_partitions or {}).items())[:ITEMS]
    name = getattr(metadata.artifact, "name", None)
    if isinstance(name, str):
        yield "artifact", _cut(name)
    for key, value in partitions:
        yield f"partition.{_cut(str(key))}", _cut(str(value))
    if metadata.time_partition is not None:
        yield "time_partition", metadata.time_partition.isoformat()
    for item in list(metadata.additional_items or ())[:ITEMS]:
        try:
            told: Any = item.serialize_to_string(context, variable)
            key, value = told
            pair = _cut(str(key)), _cut(str(value))
        except Exception as error:  # noqa: BLE001  # an item of the user's
            fault(FAULT, error)
        else:
            yield pair


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
