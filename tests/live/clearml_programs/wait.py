"""A run that goes on until somebody stops it; its id goes into the file that is named."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from clearml import Task

if __name__ == "__main__":
    task = Task.init("live tests", "wait", reuse_last_task_id=False)
    Path(sys.argv[1]).write_text(task.id)
    for step in range(10_000):
        task.get_logger().report_scalar("loss", "train", value=1.0, iteration=step)
        time.sleep(0.2)
