"""The settings of a gateway, and what it reports of its state."""

from __future__ import annotations

from pathlib import Path

import msgspec

from otel_events.gateway.state import Timing
from otel_events.otlp import Config

SECOND = 1_000_000_000


class Health(msgspec.Struct):
    """The state of a gateway.

    Attributes:
        ready: Whether it takes records.
        reasons: Why it does not.
        last_seq: Number of the last commit.
        sent_seq: The collector has all telemetry of the commits up to this one.
        open_roots: How many roots have not ended.
    """

    ready: bool
    reasons: list[str]
    last_seq: int
    sent_seq: int
    open_roots: int


class Unsent(msgspec.Struct):
    """What a closed gateway leaves for its next start to send: how many commits, and why."""

    commits: int
    reason: str = ""


class Every(msgspec.Struct, frozen=True):
    """How often the gateway does its regular work, in ns of its clock."""

    checkpoint: int = 5 * SECOND
    housekeeping: int = 30 * SECOND
    metrics: int = 60 * SECOND


class GatewayConfig(msgspec.Struct, frozen=True):
    """How a gateway runs. ``otlp`` None: telemetry goes nowhere; the metrics are still counted and shown."""

    journal: Path
    otlp: Config | None
    timing: Timing = Timing()
    every: Every = Every()
    max_bytes: int = 1 << 30
    """Size of the journal (bytes) beyond which whole traces are dropped, those that were sent first."""
    max_age: int = 7 * 24 * 3600 * SECOND
    """Age (ns) beyond which a trace that is over and sent is dropped."""
    keep_records: bool = False
    """Store the source's record beside its events, secrets masked. Off by default: records hold the inputs of runs
    (law 8)."""
    stat_tags: tuple[str, ...] = ()
    """Tags of stats that become labels; others do not (law 7)."""
