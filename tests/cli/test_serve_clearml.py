"""``otel-events serve --clearml`` as a process of its own: its ports, its credentials, a tee, what cannot be."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from otel_events.clearml_server.store import SCALAR, SqliteStore
from tests.cli.conftest import Cli
from tests.cli.test_serve import Process, running
from tests.patience import PATIENCE, until

FREE = ("--clearml-port", "0", "--clearml-files-port", "0")


@contextmanager
def clearml(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[Process, str, str]]:
    """(the process, the URL of its API, of its file server)."""
    with running(folder / "runs.db", "--drain", "0", *FREE, *arguments, **environment) as served:
        ports = [f"http://127.0.0.1:{port}" for port in re.findall(r"on port (\d+)", served.first)]
        yield served, ports[0], ports[-1]


def login(api: str, *pair: str) -> httpx.Response:
    key, secret = pair or ("k", "s")
    return httpx.get(f"{api}/auth.login", auth=(key, secret), trust_env=False, timeout=PATIENCE)


def test_the_api_and_its_files(tmp_path: Path) -> None:
    with clearml(tmp_path, "--clearml") as (served, api, files):
        bearer = {"Authorization": f"Bearer {login(api).json()['data']['token']}"}
        sent = httpx.post(files, files={"a/b.txt": ("b", b"text")}, headers=bearer, trust_env=False, timeout=PATIENCE)
        assert sent.json() == ["a/b.txt"]
        empty = httpx.post(f"{api}/events.add_batch", headers=bearer, trust_env=False, timeout=PATIENCE)
        assert empty.status_code == 400
        assert served.http.get("/readyz").status_code == 200
        assert served.stop()[0] == 0
    assert (tmp_path / "clearml-files" / "a" / "b.txt").read_bytes() == b"text"
    with clearml(tmp_path, "--clearml") as (_, _, files):  # the token of before is still good
        assert httpx.get(f"{files}/a/b.txt", headers=bearer, trust_env=False, timeout=PATIENCE).content == b"text"


def test_what_a_task_reports_is_in_the_metrics_and_retention_is_counted(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "clearml.db")) as store:
        store.documents.put("task", "t1", {"id": "t1", "name": "my task", "status": "in_progress"})
        old = {"type": SCALAR, "task": "t1", "metric": "old", "variant": "v", "iter": 0, "value": 1.0}
        store.events.add([old], worker="w", now_ms=1_000)
    events = [
        {"type": SCALAR, "task": "t1", "metric": "loss", "variant": "train", "iter": n, "value": 1 / (n + 1)}
        for n in range(4)
    ]
    with clearml(tmp_path, "--clearml", "--clearml-days", "1") as (served, api, _):
        metrics = counted(served, 'otel_events_dropped_total{reason="clearml_age"} 1')
        bearer = {"Authorization": f"Bearer {login(api).json()['data']['token']}"}
        lines = {"Content-Type": "application/json-lines"} | bearer
        body = "\n".join(map(json.dumps, events))
        url = f"{api}/v2.23/events.add_batch"
        added = httpx.post(url, content=body, headers=lines, trust_env=False, timeout=PATIENCE).json()
        assert (added["meta"]["result_code"], added["data"]["added"]) == (200, 4)
        metrics = counted(served, "otel_events_stat_loss_train{")
        wanted = {"tasks": ["t1"]}
        read = httpx.post(
            f"{api}/events.multi_task_scalar_metrics_iter_histogram",
            json=wanted,
            headers=bearer,
            trust_env=False,
            timeout=PATIENCE,
        )
        assert list(read.json()["data"]["metrics"]) == ["loss"]
    assert re.search(r'otel_events_stat_loss_train\{[^}]*name="[^"]*"[^}]*\} 0\.25', metrics)


def counted(served: Process, text: str) -> str:
    """The metrics, once ``text`` is in them."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [served.http.get("/metrics").text]
        return text in found[0]

    until(is_there)
    return found[0]


def test_credentials_of_a_file_and_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("one:first\ntwo:second\n")
    with clearml(tmp_path, "--clearml", "--clearml-credentials", str(tmp_path / "keys")) as (_, api, _):
        found = [login(api, *pair).status_code for pair in (("one", "first"), ("two", "second"), ("one", "second"))]
        assert found == [200, 200, 401]
    names = {"OTEL_EVENTS_CLEARML_KEY": "k", "OTEL_EVENTS_CLEARML_SECRET": "s"}
    with clearml(tmp_path, "--clearml", **names) as (_, api, _):
        assert (login(api).status_code, login(api, "k", "t").status_code) == (200, 401)


def test_a_tee_passes_calls_on(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    with (
        clearml(tmp_path / "real", "--clearml") as (_, real, _),
        clearml(tmp_path, "--clearml-upstream", real) as (_, tee, _),
    ):
        assert login(tee).json()["meta"]["result_code"] == 200
        assert login(tee, "k", "").status_code == 401
    assert not (tmp_path / "clearml.db").exists()


def test_what_cannot_be_is_told(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = ("--journal", tmp_path / "runs.db", "--port", "0", *FREE, "--clearml")
    monkeypatch.setenv("OTEL_EVENTS_TOKEN", "x" * 32)
    beyond = cli("serve", *journal, "--host", "0.0.0.0")  # noqa: S104 - it is what must be refused
    assert (beyond.code, "--clearml-credentials FILE" in beyond.err) == (2, True)
    wrong = cli("serve", *journal, "--clearml-upstream", "ftp://there")
    assert (wrong.code, "--clearml-upstream" in wrong.err) == (2, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = cli("serve", *journal, "--clearml-port", port)
    assert (refused.code, "choose another --clearml-port" in refused.err) == (2, True)
    monkeypatch.setenv("OTEL_EVENTS_CLEARML_KEY", "k")
    half = cli("serve", *journal)
    assert (half.code, "set both or none" in half.err) == (2, True)


@pytest.mark.parametrize("option", ["--clearml-port", "--clearml-days"])
def test_wrong_values_name_their_option(cli: Cli, option: str) -> None:
    assert option in cli("serve", "--clearml", option, "-1").err
