"""docs/gateway.md names what the server has: routes, types, limits, statuses."""

from __future__ import annotations

from pathlib import Path

from otel_events.cli.serve import PORT
from otel_events.server.answers import SHOWN
from otel_events.server.ingest import BATCHED, LINES_TYPES, MIB, STRUCTURED, Limits
from otel_events.sources import cloudevent_types

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gateway.md").read_text(encoding="utf-8")


def test_the_page_has_the_servers_own_figures() -> None:
    limits = Limits()
    for told in (
        f"127.0.0.1:{PORT}",
        f"over {limits.body // MIB} MiB",
        f"over {limits.records:,} lines",
        f"longer than {limits.body_time:g} seconds",
        f"the first {SHOWN} of them",
    ):
        assert told in PAGE


def test_the_page_has_every_type_and_route() -> None:
    for told in (*LINES_TYPES, STRUCTURED, BATCHED, *(f"{start}*" for start, _ in cloudevent_types())):
        assert f"`{told}`" in PAGE
