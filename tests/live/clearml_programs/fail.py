"""A run that ends in an uncaught exception; its id goes into the file that is named."""

from __future__ import annotations

import sys
from pathlib import Path

from clearml import Task

if __name__ == "__main__":
    task = Task.init("live tests", "fail", reuse_last_task_id=False)
    Path(sys.argv[1]).write_text(task.id)
    task.get_logger().report_scalar("loss", "train", value=2.0, iteration=0)
    raise ValueError("the data is bad")
