"""Prints the pages of docs/ that show the code's own tables, so that no page can say what the code does not do.

python scripts/print_docs.py            writes them
python scripts/print_docs.py --check    exits 1 and names each page that differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import get_args

import msgspec
from msgspec import inspect
from msgspec.structs import FieldInfo, fields

from otel_events.cli import cli_docs
from otel_events.core.metrics.families import families_table as metrics_table
from otel_events.model import event
from otel_events.sources import SOURCES
from otel_events.sources.flyte import base as flyte_base
from otel_events.sources.flyte.fields import fields_table as flyte_fields
from otel_events.sources.prefect.tables import families_table as prefect_tables
from otel_events.sources.ray.tables import tables as ray_tables
from otel_events.tasks import options

ROOT = Path(__file__).resolve().parents[1]
HEADER = "<!-- Printed from the code by `make docs`; edit the code, not this page. -->\n\n"

SEVERITY = {9: "INFO", 13: "WARN", 17: "ERROR"}


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars in cells are escaped, empty cells become a dash."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ") or "-"


def phases() -> str:
    rows = (
        (
            f"`{row.name}`",
            "yes" if row.outcome else "",
            row.cicd and f"`{row.cicd}`",
            "ERROR" if row.error else "UNSET" if row.outcome else "",
            f"{SEVERITY[row.severity]} ({row.severity})",
            f"`otel_events.run.{row.name}`",
        )
        for row in event.PHASES.values()
    )
    heads = ("phase", "outcome", "CI/CD word", "span status", "log severity", "name of the span event and log")
    return f"""{HEADER}# Phases

Where an attempt is in its life. An attempt ends at its first outcome; its span is sent then. The CI/CD word is the
value of `cicd.pipeline.run.state` on the way, and of `cicd.pipeline.result` or `cicd.pipeline.task.run.result` at the
end.

{table(heads, rows)}
The source's own word is kept verbatim beside the phase, as `otel_events.phase.native`. A word that no table knows is
kept as a log record.
"""


def sources() -> str:
    rows = ((f"`{name}`", f"`{module}`", _about(module)) for name, module in SOURCES.items())
    sections = "\n".join(f"## {name}\n\n{text()}" for name, text in SECTIONS.items())
    return f"""{HEADER}# Sources

Where events come from: `otel-events replay NAME PATH...` reads records of each. A record that cannot be decoded
becomes a dead letter with file, line and reason; the others go on.

{table(("name", "module", "what it reads"), rows)}
{sections}"""


def _about(module: str) -> str:
    text = import_module(module).__doc__ or ""
    return " ".join(text.split("\n\n")[0].replace("``", "`").split())


def _flyte() -> str:
    levels = (flyte_base.WORKFLOW_PHASES, flyte_base.NODE_PHASES, flyte_base.TASK_PHASES)
    words = [dict(level.values()) for level in levels]
    rows = ((word, *(_code(level.get(word, "")) for level in words)) for word in sorted(set().union(*words)))
    return f"""{table(("Flyte's word", "workflow", "node", "task"), rows)}
A failure of kind SYSTEM is `crashed`. Where each field of Flyte's messages goes: [flyte-fields.md](flyte-fields.md).
"""


def _code(word: str) -> str:
    return word and f"`{word}`"


def _own_events() -> str:
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
        (_code(field.name), _json_type(inspect.type_info(field.type)), _default(field))
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
            return " or ".join(_json_type(one) for one in types)
        case inspect.DictType(_, value):
            return f"object of {_json_type(value)}"
        case inspect.VarTupleType(item):
            return f"array of {_json_type(item)}"
        case inspect.StructType(cls):
            return str(cls.__name__)
    return JSON_TYPES[type(kind)]


SECTIONS: dict[str, Callable[[], str]] = {
    "flyte": _flyte,
    "prefect": prefect_tables,
    "ray": ray_tables,
    "events": _own_events,
}
"""Source -> what docs/sources.md says of it."""


def metrics() -> str:
    return f"""{HEADER}# Metrics

Every family that we make, by its full Prometheus name: the same on `/metrics`, over OTLP and in `metrics.prom`. Run
ids, attempts and free text are never labels; past a family's cap series are counted as `__other__`.

{metrics_table()}"""


def cli() -> str:
    return HEADER + cli_docs()


OPTIONS = "<!-- options: printed by `make docs` -->\n", "<!-- end of options -->"
"""What stands around the table in docs/tasks.md, the rest of which is written by hand."""


def tasks() -> str:
    path = ROOT / "docs" / "tasks.md"
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, _, rest = page.partition(OPTIONS[0])
    rows = (
        (f"`{field.name}`", options.TYPES.get(field.name, ((), options.RETRY_ON))[1], _default_of(field), about)
        for field, about in zip(fields(options.Options), options.ABOUT.values(), strict=True)
    )
    made = table(("option", "takes", "if left out", "what it does"), rows)
    return before + OPTIONS[0] + "\n" + made + "\n" + OPTIONS[1] + rest.partition(OPTIONS[1])[2]


def _default_of(field: FieldInfo) -> str:
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{value.__name__ if isinstance(value, type) else repr(value)}`"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "flyte-fields.md": flyte_fields,
    "metrics.md": metrics,
    "phases.md": phases,
    "sources.md": sources,
    "tasks.md": tasks,
}


def main(arguments: Sequence[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    check = bool(arguments)
    stale = [name for name, page in PAGES.items() if not _settle(ROOT / "docs" / name, page(), check)]
    if stale:
        print(f"docs/ differs from the code in {', '.join(stale)}: run `make docs` and commit what it writes")
    return 1 if stale else 0


def _settle(path: Path, text: str, check: bool) -> bool:
    """Whether ``path`` holds ``text``; without ``check`` it is made to."""
    if not check:
        path.write_text(text, encoding="utf-8")
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
