"""What ray.workflow.get_metadata would say, over HTTP; of the storages that the gateway polls, then of its journal.

| | answers |
|---|---|
| GET /v1/workflows?status=WORD | 200 [{"workflow_id", "status"}]; 400 for a word that is no status |
| GET /v1/workflows/ID/metadata | 200 as ``get_metadata(ID)``; 404 {"error": "No such workflow_id 'ID'"} |
| GET /v1/workflows/ID/metadata?task=TASK | 200 as ``get_metadata(ID, TASK)``; 404 |
| GET /v1/workflows/ID/status | 200 {"workflow_id", "status"}; 404 |

An ID may hold ``/``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from otel_events.journal import Journal
from otel_events.model.errors import OtelEventsError, RunNotFound
from otel_events.server.answers import answer, problem
from otel_events.sources.ray_workflow.files import Files
from otel_events.views.metadata import Recorded, Runs, Stored

Ask = Callable[[Runs], Any]


def routes(journal: Path, storages: Sequence[Files] = ()) -> list[BaseRoute]:
    """The endpoints, for ``server.app.create(more=...)``."""
    api = Api(journal, storages)
    return [
        Route("/v1/workflows", api.listed, methods=["GET"]),
        Route("/v1/workflows/{workflow_id:path}/metadata", api.metadata, methods=["GET"]),
        Route("/v1/workflows/{workflow_id:path}/status", api.status, methods=["GET"]),
    ]


class Api:
    """Each request reads the journal through a reader of its own."""

    def __init__(self, journal: Path, storages: Sequence[Files]) -> None:
        self._journal, self._storages = journal, storages

    async def metadata(self, request: Request) -> Response:
        workflow_id, task_id = request.path_params["workflow_id"], request.query_params.get("task")
        return await self._first(lambda runs: runs.get_metadata(workflow_id, task_id))

    async def status(self, request: Request) -> Response:
        workflow_id = request.path_params["workflow_id"]
        return await self._first(lambda runs: {"workflow_id": workflow_id, "status": runs.get_status(workflow_id)})

    async def listed(self, request: Request) -> Response:
        wanted = request.query_params.getlist("status") or None

        def ask() -> list[dict[str, str]]:
            with self._opened() as places:
                statuses = dict(pair for runs in reversed(places) for pair in runs.list_all(wanted))
            return [{"workflow_id": name, "status": status} for name, status in statuses.items()]

        try:
            return answer(200, await run_in_threadpool(ask))
        except ValueError as error:
            return _refused(error, 400)

    async def _first(self, ask: Ask) -> Response:
        """The answer of the first place that knows the workflow."""
        try:
            metadata = await run_in_threadpool(self._ask, ask)
        except (ValueError, RunNotFound) as error:
            return _refused(error, 404)
        # Metadata of users may hold what JSON has no word for (NaN), as Ray's own files do.
        return Response(json.dumps(metadata), media_type="application/json")

    def _ask(self, ask: Ask) -> Any:
        failed: Exception | None = None
        with self._opened() as places:
            for runs in places:
                try:
                    return ask(runs)
                except (ValueError, RunNotFound) as error:
                    if isinstance(error, OtelEventsError) and not isinstance(error, RunNotFound):
                        raise
                    # That a workflow has no such task says more than that another place has no such workflow.
                    failed = failed if failed and "task_id" in str(failed) else error
        raise failed or ValueError("nothing to look up")

    @contextmanager
    def _opened(self) -> Iterator[list[Runs]]:
        with Journal.reader(self._journal) as reader:
            yield [*(Stored(files) for files in self._storages), Recorded(reader)]


def _refused(error: Exception, status: int) -> Response:
    """What was asked for is not there; anything else is the gateway's own trouble, which its log tells."""
    if isinstance(error, OtelEventsError) and not isinstance(error, RunNotFound):
        raise error
    return problem(status, str(error))
