"""The tee over a real connection on both sides: what goes through is unchanged, what tells of runs is read too."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from otel_events.clearml_server.api.tee import DROPPED, FAULT, routes
from otel_events.gateway.gateway import Gateway
from otel_events.model.errors import ConfigError, JournalError
from otel_events.server.ingest import Limits
from otel_events.server.run import bind
from tests.clearml_server.asking import scalar
from tests.clearml_server.running import running
from tests.patience import PATIENCE
from tests.server.serving import gateway

CREATED = {"meta": {"result_code": 200}, "data": {"id": "t1"}}


class Upstream:
    """A server that answers with ``answers`` by path, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = []
        self.answers: dict[str, Response] = {}
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])])

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode()
        self.asked.append((request.method, path, request.headers.items(), await request.body()))
        return self.answers.get(request.url.path) or Response(b'{"data": {}}', media_type="application/json")


def answering(data: Any, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(data), status, headers, "application/json")


class Watched:
    """A gateway whose calls can be waited for: the tee reads once the client has its answer."""

    def __init__(self, over: Gateway) -> None:
        self._over = over
        self.seen: Queue[tuple[str, Any]] = Queue()
        self.trouble: Exception | None = None
        self.stuck: threading.Event | None = None

    def ingest_parsed(self, source: str, records: Any) -> Any:
        if self.stuck is not None:
            self.stuck.wait(PATIENCE)
        if self.trouble is not None:
            raise self.trouble
        taken = self._over.ingest_parsed(source, records)
        self.seen.put((source, [json.loads(record.encode()) for record in records]))
        return taken

    def dropped(self, reason: str, events: int) -> None:
        self._over.dropped(reason, events)
        self.seen.put(("dropped", reason))

    def faulted(self, what: str, times: int) -> None:
        self._over.faulted(what, times)
        self.seen.put(("faulted", what))

    def next(self) -> tuple[str, Any]:
        return self.seen.get(timeout=PATIENCE)

    def page(self) -> str:
        return self._over.exposition("text/plain")[0].decode()


class Tee:
    def __init__(self, upstream: Upstream, client: httpx.Client, gateway: Watched) -> None:
        self.upstream, self.client, self.gateway = upstream, client, gateway


@contextmanager
def teeing(url: str, over: Any, limits: Limits = Limits()) -> Iterator[httpx.Client]:  # noqa: B008 - immutable
    with (
        running(Starlette(routes=routes(url, over, limits))) as address,
        httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE) as client,
    ):
        yield client


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with gateway(tmp_path / "j.db") as over:
        yield Watched(over)


@pytest.fixture
def tee(watched: Watched) -> Iterator[Tee]:
    upstream = Upstream()
    with running(upstream.app) as url, teeing(url + "/base", watched) as client:
        yield Tee(upstream, client, watched)


def test_a_call_and_its_answer_pass_unchanged(tee: Tee) -> None:
    answer = Response(b"\x00\x01odd", 418, {"X-Odd": "yes"}, "application/x-odd")
    answer.raw_headers += [(b"set-cookie", b"a=1; Path=/"), (b"set-cookie", b"b=2")]
    tee.upstream.answers["/base/v2.23/projects.get_all"] = answer
    sent = {"Authorization": "Bearer abc", "X-ClearML-Worker": "w", "Cookie": "c=1", "Accept-Encoding": "zstd, br"}
    got = tee.client.request("GET", "/v2.23/projects.get_all?a=%2F&b=1", content=b'{"method":"get"}', headers=sent)
    assert (got.status_code, got.content, got.headers["x-odd"]) == (418, b"\x00\x01odd", "yes")
    assert got.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]
    ((method, path, headers, body),) = tee.upstream.asked
    assert (method, path, body) == ("GET", "/base/v2.23/projects.get_all?a=%2F&b=1", b'{"method":"get"}')
    forwarded = {name.lower(): value for name, value in headers}
    assert {name.lower(): forwarded[name.lower()] for name in sent} == {
        name.lower(): value for name, value in sent.items()
    }
    assert forwarded["content-length"] == "16"


def test_headers_of_the_connection_stay_on_it(tee: Tee) -> None:
    tee.client.get("/x", headers={"Connection": "keep-alive, x-mine", "X-Mine": "1", "TE": "trailers"})
    assert not {"x-mine", "te"} & {name for name, _ in tee.upstream.asked[0][2]}


def test_a_call_that_tells_of_a_run_is_read(tee: Tee) -> None:
    tee.upstream.answers["/base/v2.23/tasks.create"] = answering(CREATED)
    body = {"name": "train", "type": "training", "method": "get"}
    got = tee.client.request("GET", "/v2.23/tasks.create", json=body, headers={"X-Trains-Worker": "w-1"})
    assert got.json() == CREATED
    source, (record,) = tee.gateway.next()
    assert source == "clearml"
    assert {key: record[key] for key in ("endpoint", "version", "body", "status", "resp", "worker")} == {
        "endpoint": "tasks.create",
        "version": "2.23",
        "body": body,
        "status": 200,
        "resp": {"data": {"id": "t1"}},
        "worker": "w-1",
    }
    assert 'otel_events_runs_active{kind="task",name="train"' in tee.gateway.page()


def test_a_batch_is_read_line_by_line_and_a_packed_answer_unpacked(tee: Tee) -> None:
    packed = gzip.compress(json.dumps({"data": {"added": 2}}).encode())
    tee.upstream.answers["/base/v2.23/events.add_batch"] = Response(packed, headers={"Content-Encoding": "gzip"})
    lines = "\n".join(json.dumps(scalar(n, float("nan") if n else 0.5)) for n in range(2))
    headers = {"Content-Type": "application/json-lines", "Accept-Encoding": "gzip;q=1, zstd, br"}
    got = tee.client.post("/v2.23/events.add_batch", content=lines, headers=headers)
    assert got.json() == {"data": {"added": 2}}
    _, (record,) = tee.gateway.next()
    assert [event["value"] for event in record["body"]["events"]] == [0.5, None]
    assert record["resp"] == {"data": {"added": 2}}
    assert dict(tee.upstream.asked[0][2])["accept-encoding"] == "gzip;q=1"  # no coding that could not be read


def test_what_was_refused_only_reads_or_is_no_path_of_the_api_tells_nothing(tee: Tee) -> None:
    tee.upstream.answers["/base/v2.23/tasks.started"] = answering({"data": {}}, 400)
    for path in ("/v2.23/tasks.started", "/v2.23/tasks.get_all", "/v2.23/events.get_task_log", "/", "/debug.ping/x"):
        tee.client.post(path, json={"task": "t1"})
    tee.upstream.answers["/base/tasks.create"] = answering(CREATED)
    tee.client.post("/tasks.create", json={"name": "last"})
    assert tee.gateway.next()[1][0]["body"] == {"name": "last"}
    assert tee.gateway.seen.empty()


@pytest.mark.parametrize("trouble", [JournalError("no room"), RuntimeError("a fault")])
def test_where_nothing_can_be_kept_calls_pass_and_are_counted(tee: Tee, trouble: Exception) -> None:
    tee.gateway.trouble = trouble
    tee.upstream.answers["/base/tasks.create"] = answering(CREATED)
    assert tee.client.post("/tasks.create", json={"name": "x"}).json() == CREATED
    assert tee.gateway.next() == ("faulted", FAULT)
    assert f'otel_events_faults_total{{what="{FAULT}"}} 1' in tee.gateway.page()


def test_the_client_does_not_wait_for_the_journal(tee: Tee) -> None:
    tee.gateway.stuck = threading.Event()
    tee.upstream.answers["/base/tasks.create"] = answering(CREATED)
    assert tee.client.post("/tasks.create", json={"name": "x"}).json() == CREATED
    assert tee.gateway.seen.empty()
    tee.gateway.stuck.set()
    assert tee.gateway.next()[0] == "clearml"


def test_a_call_beyond_the_limit_passes_and_is_counted(watched: Watched) -> None:
    upstream = Upstream()
    with running(upstream.app) as url, teeing(url, watched, Limits(body=1_000)) as client:
        large = b'{"task": "' + b"x" * 50_000 + b'"}'
        assert client.post("/tasks.edit", content=large).status_code == 200
        assert upstream.asked[0][3] == large
        assert watched.next() == ("dropped", DROPPED)
        assert client.post("/tasks.edit", content=b'{"task": "t"}').status_code == 200
        assert watched.next()[0] == "clearml"
    assert f'otel_events_dropped_total{{reason="{DROPPED}"}} 1' in watched.page()


def test_a_bomb_as_answer_passes_as_it_is_and_is_not_unpacked(watched: Watched) -> None:
    upstream = Upstream()
    bomb = gzip.compress(b"0" * 5_000_000)
    upstream.answers["/tasks.edit"] = Response(bomb, headers={"Content-Encoding": "gzip"})
    with running(upstream.app) as url, teeing(url, watched, Limits(body=100_000)) as client:
        with client.stream("POST", "/tasks.edit", json={"task": "t"}) as got:
            assert b"".join(got.iter_raw()) == bomb
        assert watched.next() == ("faulted", FAULT)


def test_answers_come_in_pieces_as_the_server_makes_them(watched: Watched) -> None:
    more = threading.Event()

    async def pieces(request: Request) -> Response:
        async def slowly() -> AsyncIterator[bytes]:
            yield b"first"
            await run_in_threadpool(more.wait, 20)
            yield b"second"

        return StreamingResponse(slowly())

    upstream = Starlette(routes=[Route("/{path:path}", pieces)])
    with (
        running(upstream) as url,
        teeing(url, watched) as client,
        client.stream("GET", "/v2.9/events.download_task_log") as got,
    ):
        chunks = got.iter_raw()
        assert next(chunks) == b"first"  # while the server still makes the rest
        more.set()
        assert next(chunks) == b"second"


def test_bodies_go_on_as_they_come(watched: Watched) -> None:
    begun = threading.Event()

    async def takes(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            begun.set()
        return Response(body)

    def body() -> Iterator[bytes]:
        yield b"first"
        assert begun.wait(PATIENCE)  # the server has it before the rest is made
        yield b"second"

    with (
        running(Starlette(routes=[Route("/{path:path}", takes, methods=["POST"])])) as url,
        teeing(url, watched) as client,
    ):
        assert client.post("/v2.23/events.add_batch", content=body()).content == b"firstsecond"


def test_a_server_that_does_not_answer_is_told_in_the_envelope(watched: Watched) -> None:
    with bind("127.0.0.1", 0) as listener:
        nobody = listener.getsockname()[1]
    with teeing(f"http://127.0.0.1:{nobody}", watched) as client:
        got = client.post("/v2.23/tasks.started", json={"task": "t"})
    assert (got.status_code, got.json()["meta"]["result_code"]) == (502, 502)
    assert watched.seen.empty()


@pytest.mark.parametrize("url", ["", "clearml:8008", "ftp://host", "http://", "http://h/?q=1", "http://h:x"])
def test_an_upstream_that_is_no_url_is_told_at_the_start(watched: Watched, url: str) -> None:
    with pytest.raises(ConfigError, match="--clearml-upstream"):
        routes(url, watched)  # type: ignore[arg-type]  # what it uses of a gateway
