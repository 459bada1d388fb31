"""The factory of senders, and what it loads."""

from __future__ import annotations

import doctest
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version as installed

import pytest

from otel_events.model.version import version

CODE = """
import sys
from otel_events.otlp import from_env, sender
sender(from_env({"OTEL_EXPORTER_OTLP_PROTOCOL": sys.argv[1]}).endpoints["logs"]).close()
print("grpc" in sys.modules)
"""


@pytest.mark.parametrize(("protocol", "loaded"), [("http/protobuf", "False"), ("grpc", "True")])
def test_the_library_of_grpc_is_loaded_by_who_uses_it_alone(protocol: str, loaded: str) -> None:
    command = [sys.executable, "-c", CODE, protocol]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded


def test_the_version_is_that_of_the_installed_package() -> None:
    assert version() == installed("otel-events")


@pytest.mark.parametrize("module", ["model.version", "otlp.senders", "otlp.encode", "otlp.config", "otlp.wire"])
def test_the_examples_run(module: str) -> None:
    assert doctest.testmod(import_module(f"otel_events.{module}")).failed == 0
