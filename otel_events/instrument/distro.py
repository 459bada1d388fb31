"""Our own OpenTelemetry distro: ``opentelemetry-instrument python job.py`` with nothing but otel-events installed.

Entry points name what is here: the distro and the configurator for ``opentelemetry-instrument``, our variables
(environment.py) and the ids of users' spans (ids.py). ``configure()`` does the same in code (start.py). Runs
(``@task``, and what an instrumentor sees) are our events; spans, metrics and log records that the user makes
with OpenTelemetry's API go through the SDK's providers to the same endpoint, as children of the runs they are made in.
"""

from __future__ import annotations

import os
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]  # it is marked untyped
from opentelemetry.sdk._configuration import _BaseConfigurator

from otel_events.inprocess.process import IN_PROCESS
from otel_events.instrument.start import set_up


class Distro(BaseDistro):  # type: ignore[misc]  # it is marked untyped
    """Leaves everything to the configurator: the environment of the process stays as it is."""

    def _configure(self, **kwargs: Any) -> None:
        """Nothing: child processes inherit the environment, and it is theirs."""


class Configurator(_BaseConfigurator):
    """What ``opentelemetry-instrument`` calls once at the start."""

    def _configure(self, auto_instrumentation_version: str = "", **kwargs: Any) -> None:
        set_up(auto_instrumentation_version, None, IN_PROCESS, os.environ)
