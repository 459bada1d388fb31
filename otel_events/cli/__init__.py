"""The command line. ``main`` is the console script; expected errors become one message and an exit code."""

from __future__ import annotations

from typing import Annotated

import typer

from otel_events.cli import docs
from otel_events.cli.bundle import bundle
from otel_events.cli.common import fail
from otel_events.cli.context import context
from otel_events.cli.deck import deck
from otel_events.cli.demo import demo
from otel_events.cli.doctor import doctor
from otel_events.cli.look import dump, explain, runs
from otel_events.cli.metadata import metadata
from otel_events.cli.replay import replay
from otel_events.cli.serve import serve
from otel_events.model.errors import OtelEventsError
from otel_events.model.version import version

app = typer.Typer(
    name="otel-events",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)

for command in (demo, replay, serve, runs, explain, dump, deck, metadata, context, bundle, doctor):
    app.command()(command)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"otel-events {version()}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Events of workflow and task runs as OpenTelemetry traces, Prometheus metrics and structured logs.

    Exit codes: 0 all went well; 1 something was refused, not found, not sent or not in order; 2 a wrong argument or
    setting.

    Examples:

        otel-events demo
        otel-events replay flyte records/ --out out/
    """


def cli_docs() -> str:
    """The page docs/cli.md, from the same objects as ``--help``."""
    return docs.cli_docs(typer.main.get_command(app))


def main() -> None:
    """The console script ``otel-events``."""
    try:
        app(prog_name="otel-events")
    except OtelEventsError as error:
        raise SystemExit(fail(error)) from None
