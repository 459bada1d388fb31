"""The remaining calls of clients: the server's version, the caller's own user, and workers, of which there are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otel_events.clearml_server.api import access
from otel_events.clearml_server.api.base import Call, Endpoint, Service


def info(service: Service, call: Call) -> Mapping[str, Any]:
    """The version of the server."""
    return {"version": access.SERVER_VERSION, "build": "0", "uid": service.company}


def current_user(service: Service, call: Call) -> Mapping[str, Any]:
    """Who the caller is."""
    company = {"id": service.company, "name": service.company}
    return {"user": {"id": call.user, "name": call.user, "role": "admin", "company": company}, "settings": {}}


def nothing(service: Service, call: Call) -> Mapping[str, Any]:
    """An empty answer, for calls that need no other."""
    return {}


def no_workers(service: Service, call: Call) -> Mapping[str, Any]:
    """The agents that run tasks: there are none."""
    return {"workers": []}


ENDPOINTS = (
    Endpoint("server.info", "1.0", info),
    Endpoint("server.config", "1.0", nothing),
    Endpoint("server.report_stats_option", "1.0", nothing),
    Endpoint("users.get_current_user", "1.0", current_user),
    Endpoint("users.get_preferences", "1.0", lambda service, call: {"preferences": {}}),
    Endpoint("workers.get_all", "1.0", no_workers),
    Endpoint("workers.register", "1.0", nothing),
    Endpoint("workers.unregister", "1.0", nothing),
    Endpoint("workers.status_report", "1.0", nothing),
)
