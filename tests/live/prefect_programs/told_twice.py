"""Runs the example; then asks its server what it tells of the same runs, and prints the pages as JSON lines."""

from __future__ import annotations

import json
import runpy
import sys
import time
from typing import Any

from prefect.client.orchestration import get_client

EVENTS = 3 + 2 * 3 + 2 * 3 + 2
"""State events of the flow, of extract, and of load with its retries."""


def pages(client: Any) -> list[dict[str, Any]]:
    body = {"filter": {"event": {"prefix": ["prefect.flow-run.", "prefect.task-run."]}, "order": "ASC"}, "limit": 50}
    return [client._client.post("/events/filter", json=body).raise_for_status().json()]


if __name__ == "__main__":
    nightly = runpy.run_path(sys.argv[1])["nightly"]
    print("loaded", nightly(2))
    with get_client(sync_client=True) as client:
        for _ in range(60):  # the server writes them every five seconds
            found = pages(client)
            if sum("prefect.state-type" in one["resource"] for one in found[0]["events"]) >= EVENTS:
                break
            time.sleep(1)
        for page in found:
            print("page", json.dumps(page))
