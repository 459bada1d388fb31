"""What a task says of the objects that it returns: partitions, and items of its own.

    tracker = current_context().output_metadata_tracker
    tracker.add(frame, OutputMetadata(dynamic_partitions={"region": "eu"}, time_partition=datetime.now()))
    return frame

At the end of the attempt the span gets an attribute ``otel_events.output.{variable}.{key}`` for each item, where
``variable`` is ``o0`` (a single output), ``o0`` to ``oN`` or the field's name (a tuple), or the key (a dict of
outputs); and a span event ``otel_events.output`` for each object. An object that is not returned has the event
alone, without ``variable``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec

from otel_events.inprocess.faults import fault
from otel_events.model.event import MOMENTS, Scalar

OBJECTS = 64
"""Objects of one attempt that may have metadata."""
ITEMS = 64
"""Partitions and additional items of one object."""
LONGEST = 4_096
"""Characters of a value; what is longer is cut."""
FAULT = "output metadata of a task"


@runtime_checkable
class SerializableToString(Protocol):
    """An additional item of an object's metadata, as flytekit has it."""

    def serialize_to_string(self, ctx: Any, variable_name: str) -> tuple[str, str]:
        """The item as text.

        Args:
            ctx: The ``TaskContext`` of the attempt.
            variable_name: The output that the object is returned as; "" where it is not returned.

        Returns:
            Its key and its value.
        """


class OutputMetadata:
    """What is said of one object.

    >>> metadata = OutputMetadata(dynamic_partitions={"region": "eu"})
    >>> metadata.dynamic_partitions
    {'region': 'eu'}
    """

    def __init__(
        self,
        artifact: object = None,
        dynamic_partitions: Mapping[str, str] | None = None,
        time_partition: datetime | None = None,
        additional_items: Sequence[SerializableToString] | None = None,
    ) -> None:
        """
        Args:
            artifact: An artifact of flytekit's; its ``name``, if it has one, is on the span.
            dynamic_partitions: Name and value of each.
            time_partition: The time that the object is of.
            additional_items: Objects that give a key and a value each.
        """
        self.artifact, self.time_partition = artifact, time_partition
        self.dynamic_partitions, self.additional_items = dynamic_partitions, additional_items


class OutputMetadataTracker:
    """The metadata of one attempt. Objects are recognised by identity, and held so that no other gets the same one."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[object, OutputMetadata, int]] = {}

    def add(self, obj: object, metadata: OutputMetadata) -> None:
        """Set the metadata of an object.

        Args:
            obj: The object, which the task is going to return.
            metadata: Replaces what was set before.
        """
        if len(self._by_id) < OBJECTS or id(obj) in self._by_id:
            self._by_id[id(obj)] = obj, metadata, time.time_ns()
        else:
            fault(FAULT, OverflowError(f"more than {OBJECTS} objects in one attempt"))

    def get(self, obj: object) -> OutputMetadata | None:
        """The metadata of an object; None where there is none."""
        entry = self._by_id.get(id(obj))
        return entry[1] if entry else None

    def attributes(self, context: Any, result: object) -> dict[str, Scalar]:
        """Attributes of the outcome: of the objects in ``result`` by variable, and a moment for each object."""
        attributes: dict[str, Scalar] = {}
        moments = []
        names = dict(_variables(result))
        for key, (_, metadata, at) in list(self._by_id.items()):
            variable = names.get(key, "")
            items = dict(_items(context, metadata, variable))
            if variable:
                attributes |= {f"otel_events.output.{variable}.{name}": value for name, value in items.items()}
            named = {"otel_events.output.name": variable} if variable else {}
            moments.append(("otel_events.output", at, named | items))
        if moments:
            attributes[MOMENTS] = msgspec.json.encode(moments).decode()
        return attributes


def _variables(result: object) -> Iterator[tuple[int, str]]:
    """(identity, variable) of each output."""
    if isinstance(result, tuple):
        fields = getattr(result, "_fields", ())
        for number, output in enumerate(result):
            yield id(output), str(fields[number]) if number < len(fields) else f"o{number}"
    elif type(result) is dict:
        for key, output in result.items():
            if type(key) is str:
                yield id(output), key
    yield id(result), "o0"


def _items(context: Any, metadata: OutputMetadata, variable: str) -> Iterator[tuple[str, str]]:
    """(key, value) of each item; one that fails is counted and left out."""
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
            key, value = item.serialize_to_string(context, variable)
            pair = _cut(str(key)), _cut(str(value))
        except Exception as error:  # noqa: BLE001  # an item of the user's
            fault(FAULT, error)
        else:
            yield pair


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
