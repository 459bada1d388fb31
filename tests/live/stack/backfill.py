"""A past for Prometheus: what it would have recorded, for expressions that ask for a week, a day or an hour."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from scripts.stack_binaries import binary

HOUR, DAY = 3_600, 86_400


class Past(msgspec.Struct, frozen=True):
    """A series from ``first`` to ``last`` seconds ago. ``value``: of how many seconds ago."""

    value: Callable[[int], float]
    first: int = 2 * DAY
    last: int = HOUR
    step: int = 300


def level(value: float) -> Past:
    return Past(lambda ago: value)


USUAL = {
    'otel_events:run_duration_seconds:p95_1h{source="flyte",workflow="past",kind="workflow",name="past"}': level(40),
    'otel_events:queue_duration_seconds:p95_1h{source="flyte",workflow="past"}': level(5),
    'otel_events:cache_hit:ratio_rate1h{source="flyte",workflow="past",name="past"}': level(0.9),
}
"""What the recording rules would have recorded of somebody."""


def history(folder: Path, series: Mapping[str, Past] = USUAL) -> None:
    """Write blocks into ``folder/tsdb``, before Prometheus starts on it."""
    now = int(time.time())
    text = folder / "history.om"
    with text.open("w") as file:
        for name, past in series.items():
            for ago in range(past.first, past.last - 1, -past.step):
                file.write(f"{name} {past.value(ago)} {now - ago}\n")
        file.write("# EOF\n")
    command = [str(binary("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "tsdb")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
