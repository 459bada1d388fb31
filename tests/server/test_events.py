"""POST /v1/events and what guards it, over a real uvicorn."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from contextlib import ExitStack, suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_events.gateway.gateway import Gateway
from otel_events.server.answers import SHOWN
from tests.patience import until
from tests.server.serving import Served, body_of, bounds, event, events, rest, serving

HEAD = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"


def test_new_repeated_and_refused_records_are_told_apart(opened: Gateway) -> None:
    with serving(opened) as served:
        first = served.post(events(1, 2) + b"\n\n{broken\n")
        again = served.post(events(2, 3))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.headers["content-type"] == "application/json"
    told = first.json()
    assert (told["accepted"], told["duplicates"], told["refused_count"]) == (2, 0, 1)
    assert told["refused"][0]["where"] == "/v1/events:4"
    assert "not an event of ours" in told["refused"][0]["reason"]
    assert again.json() == {"accepted": 1, "duplicates": 1, "refused": [], "refused_count": 0}


@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl", "application/json; charset=utf-8"])
def test_lines_are_taken_under_each_of_their_types(opened: Gateway, kind: str) -> None:
    with serving(opened) as served:
        assert served.post(events(1, 2, 3), Content_Type=kind).json()["accepted"] == 3


def test_one_json_value_over_several_lines_is_one_record(opened: Gateway) -> None:
    pretty = json.dumps(json.loads(event(1)), indent=2).encode()
    with serving(opened) as served:
        assert served.post(pretty, Content_Type="application/json").json()["accepted"] == 1
        assert served.post(pretty).json()["accepted"] == 0


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/cloudevents+json"]
)
def test_types_that_a_web_page_could_send_or_that_are_no_lines_are_not_taken(shared: Served, kind: str) -> None:
    answer = shared.post(events(1), Content_Type=kind)
    assert answer.status_code == 415
    assert "application/x-ndjson" in answer.json()["error"]


def test_a_charset_other_than_utf8_is_not_taken(shared: Served) -> None:
    assert shared.post(events(1), Content_Type="application/json; charset=utf-16").status_code == 415


def test_400_when_nothing_could_be_used(shared: Served) -> None:
    refused = shared.post(b"{}\nnull\n[1]")
    assert (refused.status_code, refused.json()["refused_count"]) == (400, 3)
    for nothing in (b"", b"\n \n"):
        assert "no records" in shared.post(nothing).json()["error"]


def test_the_first_refused_records_are_named_and_all_are_counted(shared: Served) -> None:
    told = shared.post(b"{}\n" * 1500).json()
    assert (told["refused_count"], len(told["refused"])) == (1500, SHOWN)
    assert told["refused"][-1]["where"] == f"/v1/events:{SHOWN}"


def test_more_records_than_the_limit_are_refused_before_any_is_taken(opened: Gateway) -> None:
    with serving(opened, limits=bounds(records=3)) as served:
        assert served.post(events(1, 2, 3, 4, 5)).status_code == 413
        assert served.post(events(1, 2, 3)).json()["accepted"] == 3


def test_gzip_is_unpacked_once(opened: Gateway) -> None:
    body = gzip.compress(events(1, 2))
    with serving(opened) as served:
        assert served.post(body, Content_Encoding="gzip").json()["accepted"] == 2
        twice = served.post(gzip.compress(body), Content_Encoding="gzip, gzip")
        hidden = served.post(gzip.compress(body), Content_Encoding="gzip")
        assert (twice.status_code, hidden.status_code) == (415, 400)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"plain", "not gzip"),
        (gzip.compress(b"{}" * 100)[:-9], "too soon"),
        (b"", "too soon"),
        (gzip.compress(b"{}") + b"more", "after the end"),
        (gzip.compress(b"{}") * 2, "after the end"),
    ],
)
def test_broken_gzip_is_told(shared: Served, body: bytes, told: str) -> None:
    answer = shared.post(body, Content_Encoding="gzip")
    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "identity, gzip"])
def test_other_encodings_are_not_taken(shared: Served, encoding: str) -> None:
    answer = shared.post(b"x", Content_Encoding=encoding)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")


def test_a_gzip_bomb_is_stopped_at_the_limit(shared: Served) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    assert len(bomb) < 200_000
    answer = shared.post(bomb, Content_Encoding="gzip")
    assert answer.status_code == 413
    assert "unpacked" in answer.json()["error"]


def test_a_length_over_the_limit_is_answered_before_the_body_comes(shared: Served) -> None:
    with shared.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 20971521\r\nConnection: close\r\n\r\n")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert "20,971,520 bytes" in body_of(answer)["error"]


def test_a_body_without_length_is_stopped_at_the_limit(opened: Gateway) -> None:
    with serving(opened, limits=bounds(body=1000)) as served, served.connect() as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        connection.sendall(b"320\r\n" + b" " * 800 + b"\r\n" + b"320\r\n" + b" " * 800 + b"\r\n")
        assert rest(connection).startswith(b"HTTP/1.1 413 ")


def test_exactly_the_limit_is_taken(opened: Gateway) -> None:
    body = events(1)
    body += b" " * (1000 - len(body))
    with serving(opened, limits=bounds(body=1000)) as served:
        assert served.post(body).json()["accepted"] == 1
        assert served.post(body + b" ").status_code == 413
        packed = gzip.compress(body)
        assert served.post(packed, Content_Encoding="gzip").json()["duplicates"] == 1
        assert served.post(gzip.compress(body + b" "), Content_Encoding="gzip").status_code == 413


def test_a_slow_body_is_given_up(opened: Gateway) -> None:
    with serving(opened, limits=bounds(body_time=0.2)) as served, served.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert "0.2 seconds" in body_of(answer)["error"]


def test_a_slow_head_is_given_up(opened: Gateway) -> None:
    with serving(opened, limits=bounds(header_time=0.2)) as served:
        for beginning in (b"", b"POST", HEAD):
            assert served.raw(beginning) == b""

        def alive() -> bool:
            with suppress(httpx.HTTPError):  # too slow, too
                return served.http.get("/healthz").status_code == 200
            return False

        until(alive)


def test_a_second_request_on_a_connection_has_its_own_time_for_the_head(opened: Gateway) -> None:
    limits = bounds(header_time=0.2, idle_time=20)
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(opened, limits=limits) as served:
        # On a slow machine even the first may come too late.
        until(lambda: served.raw(ask + ask + b"GET /he").count(b"HTTP/1.1 200 OK") == 2)


def pour(connection: socket.socket) -> None:
    while True:
        connection.sendall(b" " * 1000)


def test_what_follows_an_early_answer_is_not_read_for_ever(opened: Gateway) -> None:
    with serving(opened, limits=bounds(header_time=0.3, body=10)) as served, ExitStack() as connections:
        connected: list[socket.socket] = []

        def refused() -> bool:
            connected.append(connections.enter_context(served.connect()))
            with suppress(OSError):  # the head came too late
                connected[-1].sendall(HEAD + b"Content-Length: 100000000\r\n\r\n")
                return connected[-1].recv(65_536).startswith(b"HTTP/1.1 413 ")
            return False

        until(refused)
        with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
            pour(connected[-1])


def test_an_idle_connection_is_closed(opened: Gateway) -> None:
    with serving(opened, limits=bounds(idle_time=0.2)) as served:
        assert served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").endswith(b'{"status":"alive"}')


@pytest.mark.parametrize("head", [b"no header at all", b"Content-Length: -1", b"A: b\r\n C: d\x00"])
def test_a_head_that_is_none_is_400(shared: Served, head: bytes) -> None:
    assert shared.raw(HEAD + head + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_head_that_is_too_long_is_not_waited_for(shared: Served) -> None:
    assert shared.raw(HEAD + b"X: " + b"x" * 40_000).startswith(b"HTTP/1.1 400 ")


def test_a_client_that_goes_away_leaves_the_others_alone(opened: Gateway) -> None:
    with serving(opened) as served:
        with served.connect() as connection:
            connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert served.post(events(1)).json()["accepted"] == 1


def test_all_bodies_together_have_a_limit(opened: Gateway) -> None:
    with serving(opened, limits=bounds(in_flight=1500)) as served, served.connect() as waiting:
        waiting.sendall(HEAD + b"Content-Length: 1100\r\n\r\n" + b" " * 1000)
        answers: list[httpx.Response] = []

        def refused() -> bool:
            answers.append(served.post(events(1) + b" " * 1000))
            return answers[-1].status_code == 503

        until(refused)  # once the first is there
        waiting.sendall(b" " * 100)
        assert b" 400 " in waiting.recv(65_536)
        taken = served.post(events(1) + b" " * 1000)
    assert (answers[-1].headers["retry-after"], taken.status_code) == ("1", 200)


DEEP = b'{"event":"log","attributes":' + b'{"a":' * 100_000
SURROGATE = b'{"event":"log","id":"1","time":1,"message":"\\ud800","run":' + b'{"source":"\\udfff"}}'


@pytest.mark.parametrize("body", [DEEP, b"[" * 1_000_000, SURROGATE, b'{"event":"stat","value":NaN}', b"9" * 5000])
@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/json"])
def test_bad_json_is_refused_and_never_a_fault(shared: Served, body: bytes, kind: str) -> None:
    answer = shared.post(body, Content_Type=kind)
    assert (answer.status_code, answer.json()["refused_count"]) == (400, 1)


@settings(max_examples=30)
@given(st.binary(max_size=300), st.sampled_from(["", "gzip"]), st.sampled_from(["json", "x-ndjson"]))
def test_no_body_is_a_fault(shared: Served, body: bytes, encoding: str, kind: str) -> None:
    answer = shared.post(body, Content_Type=f"application/{kind}", Content_Encoding=encoding)
    assert answer.status_code in (200, 400)
    assert isinstance(answer, httpx.Response)
