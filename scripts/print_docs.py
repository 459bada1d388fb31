"""Prints the pages of docs/ that show the code's own tables, so that no page can say what the code does not do.

python scripts/print_docs.py            writes them
python scripts/print_docs.py --check    exits 1 and names each page that differs from what would be written
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import FieldInfo, fields

from otel_events.cli import cli_docs
from otel_events.core.attributes import attributes_tables
from otel_events.core.metrics.families import families_table as metrics_table
from otel_events.model import event
from otel_events.model.declared import all_traits
from otel_events.sources import Source, load_source, source_names
from otel_events.sources.flyte.fields import fields_table as flyte_fields
from otel_events.sources.markdown import table
from otel_events.tasks import options

ROOT = Path(__file__).resolve().parents[1]
HEADER = "<!-- Printed from the code by `make docs`; edit the code, not this page. -->\n\n"

SEVERITY = {9: "INFO", 13: "WARN", 17: "ERROR"}


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


def sources_page(named: Iterable[Source]) -> str:
    """The page about these sources: what each reads, and its own section."""
    each = [*named]
    rows = ((f"`{source.name}`", f"`{source.decode.partition(':')[0]}`", source.about) for source in each)
    sections = "\n".join(f"## {source.name}\n\n{source.load('docs')()}" for source in each if source.docs)
    return f"""{HEADER}# Sources

Where events come from: `otel-events replay NAME PATH...` reads records of each. A record that cannot be decoded
becomes a dead letter with file, line and reason; the others go on.

{table(("name", "module", "what it reads"), rows)}
{sections}"""


def sources() -> str:
    return sources_page(load_source(name) for name in source_names() if is_ours(name))


def is_ours(name: str) -> bool:
    """Whether this repository has the source: what else is installed beside it is not in its documentation."""
    return load_source(name).decode.startswith("otel_events.")


def metrics() -> str:
    return f"""{HEADER}# Metrics

Every family that we make, by its full Prometheus name: the same on `/metrics`, over OTLP and in `metrics.prom`. Run
ids, attempts and free text are never labels; past a family's cap series are counted as `__other__`.

{metrics_table({name: traits for name, traits in all_traits().items() if is_ours(name)})}"""


def attributes() -> str:
    return f"""{HEADER}# Attributes

What spans, span events and log records carry, in the order of the tables, after the attributes that the source gives.
Where a source uses one of these names, ours wins. A link of a span has `otel_events.link` (`retries`, `launched_by`,
`launches`, `cached_from`, `follows`, `depends_on`), and, unless it is to the attempt before, `otel_events.link.run.id`.

{attributes_tables()}"""


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
    "attributes.md": attributes,
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
