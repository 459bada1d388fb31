"""events.add and events.add_batch: one event, or one for each line. An event that cannot be stored is refused alone,
and ``errors_info`` counts the reasons; the rest of a batch is always stored.

Reasons and codes are those of the recorded server (API 2.34) where it has one. What that server answers with 500 and
loses (NaN, a text as value, ``iter`` beyond 64 bits) has a reason of the store's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from otel_events.clearml_server.api.base import ApiError, Call, Endpoint, Service, failed_validation, is_locked
from otel_events.clearml_server.store import LOG, TYPES, Owner

MAX_REASONS = 1_000
"""Different reasons in one answer; what is refused for others is counted together."""
SHOWN = 100
"""Characters of a foreign value in a reason."""

NO_TYPE, NO_TASK = "Event must have a 'type' field", "Event must have a 'task' field"
MODEL_LOG = "Task log events are not supported for models"
OTHER_REASONS = "Other reasons"

_TYPES = frozenset(TYPES)


def add(service: Service, call: Call) -> Mapping[str, Any]:
    """Store one event, or one for each line."""
    return _add(service, call, [call.data] if call.lines is None else call.lines)


def add_batch(service: Service, call: Call) -> Mapping[str, Any]:
    """Store one event for each line; ApiError 400/17 for an empty batch."""
    lines = call.lines if call.lines is not None else [call.data] if call.data else []
    if not lines:
        raise ApiError(400, 17, "Batch request contains no items")
    return _add(service, call, lines)


def _add(service: Service, call: Call, events: Sequence[dict[str, Any]]) -> Mapping[str, Any]:
    taken, refused = _Sorting(service).sort_out(events)
    added = 0
    if taken:
        stored = service.events.add(taken, worker=call.worker, now_ms=call.now_ms)
        added = stored.added
        refused.update(stored.refused)
        if stored.refused:
            taken = [event for event in taken if _is_json(event)]
    if refused:
        service.refused(refused.total())
    if not added:
        raise ApiError(400, 131, "Events not added: " + ", ".join(f"{why}={n}" for why, n in refused.items()))
    if call.lines is not None:
        call.lines = taken  # so that the gateway gets the stored events only
    return {"added": added, "errors": refused.total(), "errors_info": dict(refused)}


def _is_json(event: dict[str, Any]) -> bool:
    try:
        msgspec.json.encode(event)
    except (ValueError, OverflowError, RecursionError, TypeError):
        return False  # lone surrogates, numbers beyond JSON: the store has refused it for the same reason
    return True


class _Sorting:
    """Sorts one request's events into those that can be stored and those that cannot. Each task is looked up once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._refused: Counter[str] = Counter()
        self._settings: dict[str, tuple[bool, bool]] = {}
        self._obstacles: dict[str, str] = {}

    def sort_out(self, events: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], Counter[str]]:
        """The events that can be stored, and the reasons of the others.

        Raises:
            ApiError: 400/12, the events of one id have different settings; then nothing of the request is stored.
        """
        taken = []
        for event in events:
            reason = self._obstacle(event)
            if not reason:
                taken.append(event)
            elif reason in self._refused or len(self._refused) < MAX_REASONS:
                self._refused[reason] += 1
            else:
                self._refused[OTHER_REASONS] += 1
        return taken, self._refused

    def _obstacle(self, event: dict[str, Any]) -> str:
        """Why this event cannot be stored, or "". Changes its fields into the store's form."""
        written = event.get("type")
        if written is None:
            return NO_TYPE
        if type(written) is not str:
            return f"Invalid event type {str(written)[:SHOWN]}"
        if written not in _TYPES:
            written = event["type"] = written.replace(" ", "_")
            if written not in _TYPES:
                return f"Invalid event type {written[:SHOWN]}"
        model = event.get("model_event", False)
        if type(model) is not bool:
            model = event["model_event"] = bool(model)
        if model:
            if written == LOG:
                return MODEL_LOG
            named = event.pop("model", None)
            if event.get("task") is None and named is not None:
                event["task"] = named
        return self._owner(event.get("task"), model, bool(event.get("allow_locked")))

    def _owner(self, name: Any, model: bool, allow_locked: bool) -> str:
        if name is None:
            return NO_TASK
        if type(name) is not str:
            return f"Invalid {'model' if model else 'task'} id {str(name)[:SHOWN]}"
        settings = self._settings.get(name)
        if settings is None:
            self._settings[name] = (model, allow_locked)
            self._obstacles[name] = self._look_up(Owner(name, model), allow_locked)
        elif settings[0] != model:
            raise failed_validation(f"Inconsistent model_event setting in the passed events): tasks=({name[:SHOWN]}")
        elif settings[1] != allow_locked:
            raise failed_validation(f"Inconsistent allow_locked setting in the passed events for {name[:SHOWN]}")
        return self._obstacles[name]

    def _look_up(self, owner: Owner, allow_locked: bool) -> str:
        document = self._service.document(owner)
        if document is not None and (allow_locked or not is_locked(owner, document)):
            return ""
        return f"Invalid {'model' if owner.model else 'task'} id {owner.id[:SHOWN]}"


ENDPOINTS = (
    Endpoint("events.add", "1.0", add, records=True),
    Endpoint("events.add_batch", "1.0", add_batch, records=True),
)
