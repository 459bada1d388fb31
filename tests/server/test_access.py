"""Who may ask what: binds, tokens, hosts; and that answers give nothing away."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from otel_events.gateway.gateway import Gateway
from otel_events.model.errors import ConfigError
from otel_events.server.auth import Access, access, is_loopback
from otel_events.server.run import bind
from tests.server.serving import Served, body_of, events, gateway, serving

TOKEN = "0123456789abcdef0123"  # noqa: S105 - made up


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),  # noqa: S104 - it is what must be refused
        ("::", False),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_an_address_beyond_loopback_needs_a_token(host: str, own: bool) -> None:
    assert is_loopback(host) is own
    assert access(host, TOKEN) == Access(host, TOKEN)
    if own:
        assert access(host) == Access(host, "")
    else:
        with pytest.raises(ConfigError, match="OTEL_EVENTS_TOKEN or --token-file"):
            access(host)


@pytest.mark.parametrize("token", ["short", "x" * 15, "x" * 20 + "\n" + "y" * 20, "\N{SNOWMAN}" * 20])
def test_a_weak_or_broken_token_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match="openssl rand") as caught:
        access("127.0.0.1", token)
    assert token not in str(caught.value)


def test_a_token_file_is_read_and_trimmed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    assert access("0.0.0.0", "ignored", str(path)).token == TOKEN  # noqa: S104 - with a token it may be
    path.write_text("")
    with pytest.raises(ConfigError, match="of the file"):
        access("127.0.0.1", "", str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        access("127.0.0.1", "", str(tmp_path / "missing"))


def test_the_token_is_not_in_the_text_of_its_holder() -> None:
    assert TOKEN not in repr(Access("127.0.0.1", TOKEN)) + str(Access("127.0.0.1", TOKEN))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]  # as pytest has it
    with (
        gateway(tmp_path_factory.mktemp("guarded") / "journal.db") as made,
        serving(made, Access("::", TOKEN)) as served,
    ):
        yield served


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer wrong",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        TOKEN,
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/events"), ("GET", "/metrics"), ("GET", "/nowhere")])
def test_without_the_token_it_is_401_and_nothing_more(
    guarded: Served, given: str | None, method: str, path: str
) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = guarded.http.request(method, path, headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="otel-events"')
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_the_token_all_is_open_under_any_host(guarded: Served, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "gateway.example.org"}
    assert guarded.http.get("/metrics", headers=headers).status_code == 200
    assert guarded.http.get("/readyz", headers=headers).json() == {"status": "ready", "reasons": []}
    assert guarded.post(events(1), **headers).status_code == 200


def test_probes_are_open_and_tell_nothing_internal(guarded: Served) -> None:
    headers = {"Host": "10.0.0.7:4319"}
    assert guarded.http.get("/healthz", headers=headers).json() == {"status": "alive"}
    assert guarded.http.get("/readyz", headers=headers).json() == {"status": "ready"}


def test_401_comes_before_the_body_is_read(guarded: Served) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n"
    answer = guarded.raw(head + b"Content-Length: 1000000\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_a_loopback_token_guards_what_changes_and_leaves_what_is_read(opened: Gateway) -> None:
    with serving(opened, Access("127.0.0.1", TOKEN)) as served:
        assert served.post(events(1)).status_code == 401
        assert served.http.get("/metrics").status_code == 200
        assert served.http.get("/readyz").json() == {"status": "ready", "reasons": []}


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:4319", "192.0.2.1", "127.0.0.1.example.org", "[::2]"]
)
@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/v1/events"])
def test_a_page_that_made_its_name_point_here_is_kept_out(shared: Served, host: str, path: str) -> None:
    answer = shared.http.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "Host" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:4319", "127.0.0.1", "[::1]:4319", "LocalHost"])
def test_names_of_this_machine_are_taken(shared: Served, host: str) -> None:
    assert shared.http.get("/readyz", headers={"Host": host}).status_code == 200


def test_an_old_client_without_host_is_taken(shared: Served) -> None:
    assert shared.raw(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/", "/v1/events/", "/metrics/", "/docs", "/../etc/passwd", "/%2e%2e/x"])
def test_other_paths_are_404_with_what_there_is(shared: Served, path: str) -> None:
    answer = shared.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert "POST /v1/events" in body_of(answer)["error"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/events"), ("PUT", "/cloudevents"), ("POST", "/metrics")])
def test_other_methods_are_405_with_those_there_are(shared: Served, method: str, path: str) -> None:
    answer = shared.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] in ("POST", "GET, HEAD", "HEAD, GET")
    assert set(answer.json()) == {"error"}


def test_no_answer_names_the_server(shared: Served) -> None:
    for path in ("/healthz", "/metrics", "/nowhere"):
        assert "server" not in shared.http.get(path).headers


def test_a_fault_of_ours_shows_in_the_log_only(
    opened: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(accept: str) -> tuple[bytes, str]:
        raise RuntimeError("canary")

    monkeypatch.setattr(opened, "exposition", fail)
    with serving(opened) as served, caplog.at_level(logging.ERROR):
        answer = served.http.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/json")
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    assert "canary" in caplog.text


def test_a_closed_gateway_is_not_ready_and_takes_nothing(opened: Gateway) -> None:
    with serving(opened) as served:
        opened.drain_and_close(0)
        ready, taken = served.http.get("/readyz"), served.post(events(1))
        assert served.http.get("/healthz").status_code == 200
    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert ready.json()["reasons"]
    assert (taken.status_code, taken.headers["retry-after"]) == (503, "5")
    assert os.sep not in taken.json()["error"]


def test_metrics_come_in_the_form_that_is_asked_for(shared: Served) -> None:
    plain = shared.http.get("/metrics")
    opened = shared.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")
    assert (plain.headers["vary"], plain.status_code) == ("Accept", 200)


def test_a_port_that_is_taken_is_told() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(ConfigError, match="choose another --port"):
        bind("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "999.1.1.1"])
def test_an_address_that_is_not_ours_is_told(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--port|--host"):
        bind(host, 0)
