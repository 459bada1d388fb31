"""``otel-events serve``: the gateway as a process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from otel_events.clearml_server.options import Options
from otel_events.cli.common import JournalOption, journal_path, say
from otel_events.cli.groups import grouped
from otel_events.cli.readers import opened, option_groups
from otel_events.cli.recorded import JournalRecorded
from otel_events.cli.serving import Plan, ended, log_to_stderr, serve_until_signal
from otel_events.gateway.gateway import GatewayConfig
from otel_events.gateway.state import Timing
from otel_events.otlp import from_env
from otel_events.server.auth import TOKEN_VARIABLE, access
from otel_events.server.run import bind
from otel_events.sources.source import ServeOptions, Serving

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND
PORT = 4319
"""Next to OTLP's own 4317 and 4318, where the collector may be listening."""

Host = Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on; beyond loopback a token is needed.")]
Port = Annotated[int, typer.Option(metavar="PORT", min=0, max=65_535, help="Port to listen on; 0 takes a free one.")]
TokenFile = Annotated[
    str,
    typer.Option(metavar="FILE", help=f"File with the bearer token to ask for; else ${TOKEN_VARIABLE}, else none."),
]
Grace = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long an outcome waits for events that come out of order.")
]
MaxOpen = Annotated[
    float, typer.Option(metavar="HOURS", min=0.01, help="Silence after which a run is closed as incomplete.")
]
Drain = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="How long to go on sending after SIGTERM; the rest is kept.")
]
Mib = Annotated[
    int, typer.Option(metavar="MIB", min=1, help="Size of the journal beyond which old runs go, the sent ones first.")
]
Days = Annotated[float, typer.Option(metavar="DAYS", min=0.01, help="How long runs that are over and sent are kept.")]
Records = Annotated[
    bool, typer.Option("--keep-records", help="Keep each record too, secrets masked; it may hold inputs of runs.")
]
StatTags = Annotated[
    list[str] | None,
    typer.Option("--stat-tag", metavar="NAME", help="A tag of stats that becomes a label; repeatable."),
]
Console = Annotated[
    Literal["off", "json", "text"],
    typer.Option(
        metavar="off|json|text",
        help="Write each event to standard output too, as a structlog record with its trace and span id.",
    ),
]

Seconds = Annotated[float, typer.Option("--poll", metavar="SECONDS", min=0.2, help="Time between two polls.")]


def _serve(
    host: Host = "127.0.0.1",
    port: Port = PORT,
    journal: JournalOption = "",
    token_file: TokenFile = "",
    grace: Grace = 10.0,
    max_open: MaxOpen = 168.0,
    drain: Drain = 5.0,
    journal_mib: Mib = 1024,
    journal_days: Days = 7.0,
    keep_records: Records = False,
    stat_tag: StatTags = None,
    console: Console = "off",
    more: Sequence[ServeOptions] = (),
    poll: Seconds = 5.0,
    clearml: Options = Options(),  # noqa: B008 - immutable
) -> None:
    """Take events over HTTP, keep them in the journal, send OTLP, serve metrics; until SIGTERM.

    POST /v1/events takes our events as JSON lines, POST /cloudevents CloudEvents (binary, structured, batch), POST
    /ray/v1/events the event export of Ray. What was answered with 200 is on disk. A restart goes on with open runs and
    unsent telemetry. /metrics, /healthz and /readyz are for Prometheus and probes; beyond loopback, /metrics asks for
    the token too.

    Telemetry goes to $OTEL_EXPORTER_OTLP_ENDPOINT (see docs/configuration.md).

    Examples:

        otel-events serve
        curl localhost:4319/v1/events -H 'Content-Type: application/x-ndjson' --data-binary @events.jsonl
        OTEL_EVENTS_TOKEN=$(openssl rand -hex 32) otel-events serve --host 0.0.0.0
        otel-events serve --ray-dashboard http://127.0.0.1:8265
        otel-events serve --ray-workflows s3://bucket/ray
        otel-events serve --clearml
    """
    log_to_stderr()
    rules = access(host, os.environ.get(TOKEN_VARIABLE, ""), token_file)
    path = journal_path(journal)
    timing = Timing(grace=int(grace * SECOND), max_open=int(max_open * 3600 * SECOND))
    config = GatewayConfig(
        path, from_env(os.environ), timing, max_bytes=journal_mib << 20, max_age=int(journal_days * DAY),
        keep_records=keep_records, stat_tags=tuple(stat_tag or ()),
    )  # fmt: skip
    readers = opened(more, Serving(os.environ, JournalRecorded(path), config.max_age))
    plan = Plan(config, rules, console, drain, readers, poll, clearml)
    with bind(host, port) as listener:
        say(ended(serve_until_signal(plan, listener)))


serve = grouped(_serve, option_groups())
"""The command, with the options of all sources that are installed."""
serve.__name__ = "serve"
