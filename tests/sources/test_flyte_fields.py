"""The coverage table: complete against flyteidl, printed in docs, and true, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flyteidl.event import cloudevents_pb2, event_pb2
from google.protobuf.descriptor import FieldDescriptor

from otel_events.model.event import AnyEvent
from otel_events.sources.flyte.decode import LEVELS
from otel_events.sources.flyte.fields import FIELDS, WITHHELD, fields_table
from tests.sources.flyte_messages import TIME, whole

WORD, NUMBER = "zq7distinct", 7_919


def key(field: Any) -> str:
    return f"{field.containing_type.full_name}.{field.name}"


def test_every_field_of_the_event_messages_has_a_row() -> None:
    missing = [
        key(field)
        for message in event_pb2.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if key(field) not in FIELDS
    ]
    enriched = [level.enriched.DESCRIPTOR for level in LEVELS.values()]
    missing += [key(field) for message in enriched for field in message.fields if key(field) not in FIELDS]
    assert missing == []
    assert {message.name for message in enriched} | {
        "CloudEventExecutionStart"
    } == set(  # that one is never sent (reference 4)
        cloudevents_pb2.DESCRIPTOR.message_types_by_name
    )


def test_no_row_is_of_a_field_that_does_not_exist() -> None:
    names = {key(path[-1]) for level in LEVELS for path in leaves(LEVELS[level].event.DESCRIPTOR, inner=True)}
    names |= {key(field) for level in LEVELS.values() for field in level.enriched.DESCRIPTOR.fields}
    assert FIELDS.keys() - names == set()


def test_the_page_is_printed_from_the_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "flyte-fields.md"
    assert page.read_text() == fields_table()


def leaves(descriptor: Any, before: tuple[Any, ...] = (), inner: bool = False) -> Iterator[tuple[Any, ...]]:
    """Paths of fields to every scalar, time, duration and struct that is not withheld."""
    for field in descriptor.fields:
        path = (*before, field)
        row = FIELDS[key(field)]  # a nested message without a row is a KeyError: every field that is read has one
        part = field.message_type
        leaf = part is None or part.full_name.startswith("google.protobuf.")
        if (leaf and not row.startswith(WITHHELD)) or inner:
            yield path
        if not leaf and not row.startswith(WITHHELD):
            yield from leaves(part, path, inner)


def place(event: Any, path: tuple[Any, ...]) -> Any:
    """The message that holds the path's last field; identifiers (and reasons) on the way get all their texts."""
    for field in path[:-1]:
        part = getattr(event, field.name)
        if field.is_repeated:
            part = part[0] if part else part.add()
        part.SetInParent()
        for sibling in part.DESCRIPTOR.fields:
            named = part.DESCRIPTOR.full_name.endswith(("Identifier", "EventReason"))
            if named and sibling.type == FieldDescriptor.TYPE_STRING and not getattr(part, sibling.name):
                setattr(part, sibling.name, "s" if sibling.name != "org" else "")
        event = part
    return event


def values(field: Any) -> list[tuple[Any, tuple[str, ...]]]:
    """Values to set, each with the forms in which it may show; no form: the output must differ."""
    if field.message_type is not None:
        return []
    if field.enum_type is not None:
        return [(message.number, forms_of(message.name)) for message in field.enum_type.values if message.number]
    if field.type == FieldDescriptor.TYPE_STRING:
        return [(WORD, (WORD,))]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return [(True, ())]
    return [(NUMBER, (f"{NUMBER}", f"{NUMBER + 1}"))]


def forms_of(name: str) -> tuple[str, ...]:
    lower = name.lower()
    return (f'"{name}"', f'"{lower}"', f'"{lower.split("_", 1)[-1]}"', f"{lower}:", f'\\"{name}\\"')


def shown(events: list[AnyEvent]) -> str:
    return msgspec.json.encode(events).decode()


def decoded(level: str, event: Any) -> str:
    return shown(LEVELS[level].decode(event))


def changed(level: str, path: tuple[Any, ...], sub_tasks: bool) -> Iterator[tuple[Any, Any, tuple[str, ...]]]:
    """(event without, event with the value, forms of it) for each value of a path's last field."""
    last = path[-1]
    for value, forms in values(last) or [(None, ())]:
        without, event = whole(level), whole(level)
        for each in (without, event):
            if sub_tasks:
                each.metadata.external_resources.add(phase=2)
            target = place(each, path)
        part = target if last.message_type is None else getattr(target, last.name)
        if last.message_type is None:
            setattr(target, last.name, value)
        elif last.message_type.name == "Timestamp":
            part.seconds, part.nanos = TIME + 77, 123_456_000
            forms = (f"{TIME + 77}123456000", "2026-07-01T12:01:17.123456Z")
        elif last.message_type.name == "Duration":
            part.seconds, forms = NUMBER, (str(NUMBER),)
        else:
            part.update({WORD: NUMBER})
            forms = (WORD,)
        yield without, event, forms


CASES = [
    pytest.param(level, path, sub_tasks, id=f"{level}.{'.'.join(message.name for message in path)}{'+sub' * sub_tasks}")
    for level in LEVELS
    for path in leaves(LEVELS[level].event.DESCRIPTOR)
    for sub_tasks in ((False, True) if any(message.name == "external_resources" for message in path) else (False,))
]


@pytest.mark.parametrize(("level", "path", "sub_tasks"), CASES)
def test_the_value_of_every_field_shows(level: str, path: tuple[Any, ...], sub_tasks: bool) -> None:
    defaults = {("task_id", "resource_type"): 1}  # left out: what it always is
    for without, event, forms in changed(level, path, sub_tasks):
        if without == event or defaults.get(tuple(message.name for message in path)) == getattr(
            place(event, path), path[-1].name
        ):
            continue
        text = decoded(level, event)
        assert text != decoded(level, without)
        assert not forms or any(form in text for form in forms), (forms, text)


def test_inputs_outputs_and_code_are_withheld_but_their_size_is_told() -> None:
    task, node = whole("task"), whole("node")
    for event in (task, node):
        for field in ("input_data", "output_data"):
            getattr(event, field).literals[WORD].scalar.primitive.string_value = WORD
    node.task_node_metadata.dynamic_workflow.compiled_workflow.primary.template.id.name = WORD
    texts = {"task": decoded("task", task), "node": decoded("node", node)}
    workflow = whole("workflow")
    workflow.output_data.literals[WORD].scalar.primitive.string_value = WORD
    texts["workflow"] = decoded("workflow", workflow)
    assert [WORD in text for text in texts.values()] == [False] * 3
    size = f'.size":{task.input_data.ByteSize()}'
    assert (texts["task"].count(size), texts["node"].count(size), texts["workflow"].count(size)) == (2, 2, 1)
    compiled = node.task_node_metadata.dynamic_workflow.compiled_workflow.ByteSize()
    assert f'"flyte.dynamic_workflow.compiled.size":{compiled}' in texts["node"]
