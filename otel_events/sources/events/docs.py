"""The section of docs/sources.md about our own events, printed from the structs."""

from __future__ import annotations

from typing import get_args

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo, fields

from otel_events.model import event
from otel_events.sources.markdown import code, table


def section() -> str:
    """Every shape of an event with its fields, and an example."""
    shapes = get_args(event.AnyEvent)
    shared = {field.name for field in fields(event.Event)}
    every = _section("Fields of every event", event.Event, set())
    kinds = [_section(f'{kind.__name__}: `"event": "{kind.__struct_config__.tag}"`', kind, shared) for kind in shapes]
    parts = [_section(kind.__name__, kind, set()) for kind in (event.Run, event.Link, event.Error)]
    return f"""One JSON object a record: a line of a file, or of the body of `POST /v1/events`. `event` says which
of the {len(shapes)} shapes it is. Times are integers: nanoseconds since the epoch, UTC.

```json
{msgspec.json.format(msgspec.json.encode(EXAMPLE)).decode()}
```

{every}
""" + "\n".join([*kinds, *parts])


def _section(title: str, kind: type[msgspec.Struct], less: set[str]) -> str:
    """What a struct is and its fields, those named in ``less`` left out."""
    about = " ".join((kind.__doc__ or "").replace("``", "`").split())
    rows = (
        (code(field.name), _json_type(inspect.type_info(field.type)), _default(field))
        for field in fields(kind)
        if field.name not in less
    )
    return f"### {title}\n\n{about}\n\n{table(('field', 'type', 'if left out'), rows)}"


EXAMPLE = event.PhaseChange(
    id="f3b1-7",
    time=1_790_000_000_000_000_000,
    run=event.Run("batch", "task", "nightly/42/train", name="train", root="nightly/42", workflow="nightly"),
    phase="succeeded",
    native="done",
)


def _default(field: FieldInfo) -> str:
    if field.required:
        return "refused"
    value = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return f"`{msgspec.json.encode(value).decode()}`"


JSON_TYPES: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
}


def _json_type(kind: inspect.Type) -> str:
    match kind:
        case inspect.LiteralType(values):
            return "one of " + ", ".join(f'`"{value}"`' for value in values)
        case inspect.UnionType(types):
            return " or ".join(_json_type(member) for member in types)
        case inspect.DictType(_, value):
            return f"object of {_json_type(value)}"
        case inspect.VarTupleType(item):
            return f"array of {_json_type(item)}"
        case inspect.StructType(cls):
            return str(cls.__name__)
    return JSON_TYPES[type(kind)]
