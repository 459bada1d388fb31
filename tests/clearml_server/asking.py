"""The reads without HTTP: the row of the table that a version gets, its fields checked, its function called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from otel_events.clearml_server.api.base import MODEL, TASK, ApiError, Attachment, Call, Service, checked, parsed
from otel_events.clearml_server.api.reads.table import ENDPOINTS
from otel_events.clearml_server.store import IMAGE, LOG, PLOT, SCALAR, Documents, Events, Retention, SqliteStore

NOW = 1_700_000_000_000


def parts(store: SqliteStore) -> tuple[Documents, Events, Retention]:
    """What a service takes of a store."""
    return store.documents, store.events, store.retention


class Asked:
    """A service over a fresh store with the tasks t and u, the model m, and a clock that tests move."""

    def __init__(self, store: SqliteStore) -> None:
        self.seconds = 0.0
        self.store = store
        self.service = Service(*parts(store), "company", lambda: NOW, lambda: self.seconds)
        for kind, key in ((TASK, "t"), (TASK, "u"), (MODEL, "m")):
            store.documents.put(kind, key, {"id": key, "name": f"name of {key}", "status": "created", "ready": False})

    def __call__(self, name: str, version: str = "2.34", **data: Any) -> dict[str, Any]:
        answer = self.raw(name, version, **data)
        assert not isinstance(answer, Attachment)
        return dict(answer)

    def raw(self, name: str, version: str = "2.34", **data: Any) -> Any:
        fitting = [row for row in ENDPOINTS if row.name == f"events.{name}" and row.version <= parsed(version)]
        endpoint = max(fitting, key=lambda row: row.version)
        call = Call(endpoint.name, parsed(version), checked(endpoint.fields, data), now_ms=NOW)
        return endpoint.answer(self.service, call)

    def refusal(self, name: str, version: str = "2.34", **data: Any) -> tuple[int, int]:
        """(HTTP status, subcode) of the error that the call ends with."""
        try:
            self.raw(name, version, **data)
        except ApiError as error:
            return error.code, error.subcode
        raise AssertionError(f"{name} was answered")

    def add(self, *events: dict[str, Any]) -> None:
        assert self.store.events.add(events, worker="w", now_ms=NOW).added == len(events)


@contextmanager
def asking() -> Iterator[Asked]:
    """For one example of a property."""
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "s.db")
        try:
            yield Asked(store)
        finally:
            store.close()


def scalar(at: int | None, value: float | None, metric: str = "m", variant: str = "v", **more: Any) -> dict[str, Any]:
    event = {"type": SCALAR, "task": "t", "metric": metric, "variant": variant, "value": value, "timestamp": NOW} | more
    return event if at is None else event | {"iter": at}


def image(at: int, url: str, metric: str = "i", variant: str = "a", **more: Any) -> dict[str, Any]:
    event = {"type": IMAGE, "task": "t", "metric": metric, "variant": variant, "iter": at, "url": url, "timestamp": NOW}
    return event | more


def plot(at: int, metric: str = "p", variant: str = "a", **more: Any) -> dict[str, Any]:
    event = {"type": PLOT, "task": "t", "metric": metric, "variant": variant, "iter": at, "plot_str": f"[{at}]"}
    return event | {"timestamp": NOW} | more


def line(text: str, **more: Any) -> dict[str, Any]:
    return {"type": LOG, "task": "t", "msg": text, "timestamp": NOW} | more
