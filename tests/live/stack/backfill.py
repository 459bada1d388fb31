"""A past for Prometheus: two days of what the recording rules would have recorded, for those that ask for a week."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from scripts.stack_binaries import binary

SERIES = {
    "otel_events:run_duration_seconds:p95_1h": 40.0,
    "otel_events:queue_duration_seconds:p95_1h": 5.0,
    "otel_events:cache_hit:ratio_rate1h": 0.9,
}
LABELS = '{source="flyte",namespace="flytesnacks/development",workflow="past",kind="workflow",name="past"}'
DAYS, STEP = 2, 300


def history(folder: Path) -> None:
    """Write blocks into ``folder/tsdb``, before Prometheus starts on it."""
    now = int(time.time())
    lines = []
    for name, value in SERIES.items():
        lines.append(f"# TYPE {name} gauge")
        for at in range(now - DAYS * 86_400, now - 3_600, STEP):
            lines.append(f"{name}{LABELS} {value} {at}")
    text = folder / "history.om"
    text.write_text("\n".join([*lines, "# EOF"]) + "\n")
    command = [str(binary("promtool")), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "tsdb")]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
