"""Another client, which stops a task as the button of the web interface does."""

from __future__ import annotations

import sys

from clearml import Task

if __name__ == "__main__":
    Task.get_task(task_id=sys.argv[1]).mark_stopped(force=True, status_message="stopped by another client")
