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

from otel_events import event
from otel_events.sources import SOURCES

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
    return f"""# Phases

Where an attempt is in its life. An attempt ends at its first outcome; its span is sent then. The CI/CD word is the
value of `cicd.pipeline.run.state` on the way, and of `cicd.pipeline.result` or `cicd.pipeline.task.run.result` at the
end.

{table(heads, rows)}
The source's own word is kept verbatim beside the phase, as `otel_events.phase.native`. A word that no table knows is
kept as a log record.
"""


def sources() -> str:
    rows = ((f"`{name}`", f"`{module}`", _about(module)) for name, module in SOURCES.items())
    return f"""# Sources

Where events come from: `otel-events replay NAME PATH...` reads records of each. A record that cannot be decoded
becomes a dead letter with file, line and reason; the others go on.

{table(("name", "module", "what it reads"), rows)}
{_own_events()}"""


def _about(module: str) -> str:
    text = import_module(module).__doc__ or ""
    return " ".join(text.split("\n\n")[0].split())


def _own_events() -> str:
    kinds = "\n".join(f"### {_heading(kind)}\n\n{_about_class(kind)}\n\n{_fields(kind)}" for kind in _own_types())
    return f"""## events

Our own events, one JSON object a record (a line of a file, or of the body of `POST /v1/events`). `event` says which of
the {len(get_args(event.AnyEvent))} shapes it is. Times are integers: nanoseconds since the epoch, UTC.

```json
{msgspec.json.encode(EXAMPLE).decode()}
```

{kinds}"""


EXAMPLE = event.PhaseChange(
    id="f3b1-7",
    time=1_790_000_000_000_000_000,
    run=event.Run("batch", "task", "nightly/42/train", name="train", root="nightly/42", workflow="nightly"),
    phase="succeeded",
    native="done",
)


def _own_types() -> tuple[type[msgspec.Struct], ...]:
    return (*get_args(event.AnyEvent), event.Run, event.Link, event.Error)


def _heading(kind: type[msgspec.Struct]) -> str:
    tag = kind.__struct_config__.tag
    return f'{kind.__name__}: `"event": "{tag}"`' if tag else kind.__name__


def _about_class(kind: type[msgspec.Struct]) -> str:
    return " ".join((kind.__doc__ or "").replace("``", "`").split())


def _fields(kind: type[msgspec.Struct]) -> str:
    rows = ((f"`{field.name}`", _json_type(inspect.type_info(field.type)), _default(field)) for field in fields(kind))
    return table(("field", "type", "if left out"), rows)


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


PAGES: dict[str, Callable[[], str]] = {
    "phases.md": phases,
    "sources.md": sources,
}


def main(arguments: Sequence[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    check = bool(arguments)
    stale = [name for name, page in PAGES.items() if not _settle(ROOT / "docs" / name, HEADER + page(), check)]
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
