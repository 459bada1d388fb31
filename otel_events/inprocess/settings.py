"""Where the events of a process go, as configured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from otel_events.gateway.state import Timing

GATEWAY = "OTEL_EVENTS_GATEWAY"
TAGS = "OTEL_EVENTS_STAT_TAGS"


class Settings(msgspec.Struct, frozen=True):
    """The settings of ``configure()``; a child process that takes the place of its parent needs the same."""

    journal: Path
    """Its file; in a temporary folder where none was named."""
    temporary: bool
    """Whether the journal is removed at the end of the process."""
    gateway: str
    """URL of a gateway elsewhere; "": a gateway in this process, which sends to a collector."""
    timing: Timing
    environ: Mapping[str, str]
