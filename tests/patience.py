"""How long a test waits for what must come."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600.0
"""Seconds that only a hang reaches, on however slow or busy a machine. No test is right or wrong by how much of them it
takes. Below pytest's own limit for a test (pyproject.toml), so that what waited in vain is told by the test itself."""

HOURS = 100 * PATIENCE
"""Seconds that no test waits for: what a wait that should be cut short is set to, so that it hangs where it is not."""

PATIENT = f"from otel_events.inprocess import process\nprocess.EXIT_SECONDS = {PATIENCE}\n"
"""First lines of a program whose telemetry is asserted: its end waits for the collector as long as it takes."""


def until(so: Callable[[], Any], patience: float = PATIENCE) -> None:
    """Wait until it is so; AssertionError after ``patience`` seconds."""
    end = time.monotonic() + patience
    while not so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
