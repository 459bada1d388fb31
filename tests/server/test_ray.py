"""The receiver of Ray's event export: kept means 200, whatever came; only what is not kept is told as such."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_events.gateway.gateway import Gateway, GatewayConfig
from otel_events.intake.records import MAX_RECORD_BYTES, Record
from otel_events.journal import Journal
from otel_events.model.event import AnyEvent
from otel_events.server.auth import Access
from tests.patience import PATIENCE
from tests.server.serving import Served, bounds, gateway, serving
from tests.sources.ray_events import SESSION, batch, definition, job, transitions

PATH = "/ray/v1/events"
JSON = {"Content-Type": "application/json"}
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - made up


def post(served: Served, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return served.http.post(PATH, content=body, headers=JSON | (headers or {}))


def dead(path: Path) -> list[tuple[str, str, bytes]]:
    """(where, reason, record) of the dead letters in a journal."""
    with Journal.reader(path) as journal:
        return [(letter.where, letter.reason, letter.record) for letter in journal.dead_letters()]


def events_of(path: Path) -> list[AnyEvent]:
    with Journal.reader(path) as journal:
        chunks = [chunk for row in journal.roots() for chunk in journal.root_chunks(row.key)]
        return [event for chunk in chunks for event in chunk.events]


def run_ids(path: Path) -> set[str]:
    return {event.run.id for event in events_of(path)}


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def over(journal_path: Path) -> Iterator[Gateway]:
    with gateway(journal_path) as made:
        yield made


@pytest.fixture
def served(over: Gateway) -> Iterator[Served]:
    with serving(over) as made:
        yield made


def test_a_batch_is_kept_once(served: Served, over: Gateway, journal_path: Path) -> None:
    body = batch(job(), definition(1), transitions(1, "RUNNING", "FINISHED"))
    first, second = post(served, body), post(served, body)
    assert (first.status_code, first.json()["accepted"], first.json()["refused_count"]) == (200, 4, 0)
    assert (second.status_code, second.json()["accepted"], second.json()["duplicates"]) == (200, 0, 4)
    over.drain_and_close(0)
    assert len(run_ids(journal_path)) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"\xff\xfe", b'"text"', b'{"no": "event"}', b"[1, 2", b"[" * 100_000],
    ids=["empty", "half", "null", "binary", "text", "object", "cut", "deep"],
)
def test_what_is_no_batch_is_a_dead_letter_and_200(
    served: Served, over: Gateway, journal_path: Path, body: bytes
) -> None:
    answer = post(served, body)
    assert (answer.status_code, answer.json()["refused_count"]) == (200, 1)
    assert 'otel_events_dead_letters_total{source="ray"} 1' in served.http.get("/metrics").text
    over.drain_and_close(0)
    assert [record for _, _, record in dead(journal_path)] == [body]


def test_a_bad_event_costs_itself_only(served: Served, over: Gateway, journal_path: Path) -> None:
    answer = post(served, batch(definition(1), {"eventId": "x", "eventType": "TASK_LIFECYCLE_EVENT"}, definition(2)))
    assert (answer.status_code, answer.json()["accepted"], answer.json()["refused_count"]) == (200, 2, 1)
    over.drain_and_close(0)
    assert len(run_ids(journal_path)) == 2
    ((where, reason, record),) = dead(journal_path)
    assert where == f"{PATH}[1]"
    assert "timestamp" in reason
    assert json.loads(record)["eventId"] == "x"


def test_an_empty_batch_is_200(served: Served) -> None:
    assert post(served, b"[]").json()["accepted"] == 0


def test_a_body_past_the_cap_is_read_to_its_end_and_its_head_kept(
    served: Served, over: Gateway, journal_path: Path
) -> None:
    body = b"[" + b" " * MAX_RECORD_BYTES + b"]"
    answer = post(served, body)
    assert (answer.status_code, answer.json()["refused_count"]) == (200, 1)
    assert post(served, batch(definition(1))).json()["accepted"] == 1
    over.drain_and_close(0)
    ((_, reason, record),) = dead(journal_path)
    assert "16,777,216 bytes" in reason
    assert record == body[:4096]


def test_a_bomb_is_not_unpacked(served: Served, over: Gateway, journal_path: Path) -> None:
    answer = post(served, gzip.compress(bytes(MAX_RECORD_BYTES * 4)), {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["refused_count"]) == (200, 1)
    over.drain_and_close(0)
    assert "16,777,216 bytes" in dead(journal_path)[0][1]


@pytest.mark.parametrize(
    ("body", "encoding", "told"),
    [
        (gzip.compress(b"[]")[:-9], "gzip", "ends too soon"),
        (b"[]", "gzip", "not gzip"),
        (gzip.compress(b"[]") + b"x", "gzip", "after the end"),
        (zlib.compress(b"[]"), "deflate", "'deflate' is not known"),
    ],
)
def test_what_cannot_be_unpacked_is_a_dead_letter(
    served: Served, over: Gateway, journal_path: Path, body: bytes, encoding: str, told: str
) -> None:
    assert post(served, body, {"Content-Encoding": encoding}).status_code == 200
    over.drain_and_close(0)
    assert told in dead(journal_path)[0][1]


def test_gzip_is_understood(served: Served) -> None:
    answer = post(served, gzip.compress(batch(definition(1))), {"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)


def test_a_journal_that_cannot_be_written_is_503_and_the_next_try_is_whole(served: Served, over: Gateway) -> None:
    over.drain_and_close(0)
    answer = post(served, batch(definition(1)))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_too_much_in_memory_is_503(over: Gateway) -> None:
    with serving(over, limits=bounds(in_flight=1000)) as served:
        assert post(served, batch(*map(definition, range(20)))).status_code == 503


def _basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"ray:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (_basic(TOKEN), 200),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        (_basic(TOKEN[1:]), 401),
        (_basic(""), 401),
        ({"Authorization": "Basic not base64"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Digest {TOKEN}"}, 401),
    ],
)
def test_the_token_is_the_password_of_the_address(over: Gateway, headers: dict[str, str], status: int) -> None:
    """Ray can be given an address only: http://any:TOKEN@host:4319/ray/v1/events."""
    with serving(over, Access("0.0.0.0", TOKEN)) as served:  # noqa: S104 - the rules of that bind, over loopback
        assert post(served, b"[]", headers).status_code == status


def test_an_address_with_the_token_in_it(over: Gateway) -> None:
    with serving(over, Access("0.0.0.0", TOKEN)) as served:  # noqa: S104 - the rules of that bind, over loopback
        url = f"http://ray:{TOKEN}@127.0.0.1:{served.port}{PATH}"
        assert httpx.post(url, content=b"[]", headers=JSON, trust_env=False, timeout=PATIENCE).status_code == 200


def test_other_methods_are_405(served: Served) -> None:
    assert served.http.get(PATH).status_code == 405


def test_secrets_of_a_runtime_environment_reach_neither_journal_nor_metrics(
    served: Served, over: Gateway, journal_path: Path
) -> None:
    secret = json.dumps({"env_vars": {"PLAIN": "hunter2"}})
    event: dict[str, Any] = definition(1)
    event["taskDefinitionEvent"]["serializedRuntimeEnv"] = secret
    assert post(served, batch(event)).json()["accepted"] == 1
    assert b"hunter2" not in served.http.get("/metrics").content
    over.drain_and_close(0)
    kept = repr(events_of(journal_path))
    assert SESSION in kept
    assert "hunter2" not in kept


@pytest.mark.parametrize("keep", [False, True], ids=["dead letters", "kept records"])
def test_what_is_kept_of_a_batch_holds_no_runtime_environment(journal_path: Path, keep: bool) -> None:
    """Not under the name of a secret either: Ray has all of it in one string of JSON."""
    event: dict[str, Any] = definition(1)
    event["taskDefinitionEvent"]["serializedRuntimeEnv"] = json.dumps({"env_vars": {"GREETING": "hunter2"}})
    body = batch(event) if keep else batch(event)[:-1]
    config = GatewayConfig(journal=journal_path, otlp=None, keep_records=keep)
    over = Gateway.open(config)
    assert over.ingest("ray", [Record(body)]).accepted == keep
    over.drain_and_close(0)
    with Journal.reader(journal_path) as journal:
        letters = [letter.record for letter in journal.dead_letters()]
        records = [r for row in journal.roots() for chunk in journal.root_chunks(row.key) for r in chunk.records or ()]
    kept = repr(letters + records)
    assert "serializedRuntimeEnv" in kept
    assert "hunter2" not in kept
