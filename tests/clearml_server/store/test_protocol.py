"""The store's protocols are small, say nothing of changing events in place, and the SQLite classes fulfil them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from otel_events.clearml_server.store import Documents, Events, Retention, SqliteStore

MOST = 12
PROTOCOLS: tuple[type[Any], ...] = (Documents, Events, Retention)


def methods(kind: type[Any]) -> dict[str, list[tuple[str, Any, Any]]]:
    """Public methods, with the name, kind and default of each parameter."""
    return {
        name: [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_is_small(protocol: type[Any]) -> None:
    assert 0 < len(methods(protocol)) <= MOST


def test_only_documents_read_and_write_in_one_step() -> None:
    """What takes a function of the old value is a read-modify-write, which ClickHouse cannot do for events."""
    changing = {
        name
        for protocol in (Events, Retention)
        for name, function in inspect.getmembers(protocol, inspect.isfunction)
        if "Callable" in str(inspect.signature(function))
    }
    assert changing == set()
    assert "Callable" in str(inspect.signature(Documents.change))


def test_the_sqlite_store_fulfils_each(store: SqliteStore) -> None:
    documents: Documents = store.documents  # mypy checks the types of what is assigned
    events: Events = store.events
    retention: Retention = store.retention
    for part, protocol in zip((documents, events, retention), PROTOCOLS, strict=True):
        assert methods(type(part)) == methods(protocol)
