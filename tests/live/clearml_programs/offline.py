"""A run without a server; the path of its session goes into the file that is named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from clearml import Task

if __name__ == "__main__":
    Task.set_offline(offline_mode=True)
    task = Task.init("live tests", "offline", reuse_last_task_id=False)
    for step in range(20):
        task.get_logger().report_scalar("loss", "train", value=1 / (step + 1), iteration=step)
    task.get_logger().report_text("an offline line")
    task.close()
    Path(sys.argv[1]).write_text(json.dumps({"task": task.id, "session": str(task.get_offline_mode_folder()) + ".zip"}))
