"""What a workflow of Ray 2.47 and earlier left in its storage, without Ray: its status, its tasks, how long they took.

python examples/ray_workflow_metadata.py /mnt/ray-storage trip1 trip
"""

from __future__ import annotations

import sys

from otel_events import get_metadata
from otel_events.metadata import list_all


def main(storage: str, *ids: str) -> None:
    if not ids:
        for workflow_id, status in list_all(storage=storage):
            print(f"{status:<10}  {workflow_id}")
        return
    print(get_metadata(ids[0], storage=storage))
    for task_id in ids[1:]:
        print(get_metadata(ids[0], task_id, storage=storage))


if __name__ == "__main__":
    main(*sys.argv[1:])
