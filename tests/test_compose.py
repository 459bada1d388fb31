"""The compose file: parsed, since nothing here can run it, and held to what it promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[1] / "collector"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = sorted(set(SERVICES) - {"secrets"})


def test_all_of_the_stack_is_there() -> None:
    assert set(SERVICES) == {"secrets", "gateway", "collector", "prometheus", "tempo", "loki", "grafana"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_pinned_to_a_whole_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == "otel-events:local" or re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image), image


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_least_privilege(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    user = service["user"].split(":")[0]
    assert user != "0" or (name == "secrets" and service["network_mode"] == "none")


@pytest.mark.parametrize("name", LASTING)
def test_health_is_checked(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(check)


def test_ports_are_bound_to_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_no_secret_is_written_down() -> None:
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            secret = re.search(r"(?i)password|token|secret|key$", key)
            assert not secret or str(value).startswith("/secrets/"), f"{name}: {key}"
    assert not re.search(r"(?i)(password|token)\s*[:=]\s*['\"]?\w*\d", (FOLDER / "compose.yaml").read_text())


def test_dependencies_and_volumes_exist() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        named = {one.split(":")[0] for one in service.get("volumes", []) if not one.startswith(".")}
        assert named <= set(COMPOSE["volumes"])


def test_hosts_in_settings_are_services() -> None:
    texts = [str(value) for service in SERVICES.values() for value in (service.get("environment") or {}).values()]
    texts.append((FOLDER / "prometheus" / "prometheus.compose.yaml").read_text())
    hosts = {host for text in texts for host in re.findall(r"(?:https?://|\[\")([a-z]+):\d+", text)}
    assert hosts - {"localhost"} <= set(SERVICES)
    assert {"tempo", "loki", "prometheus", "collector", "gateway"} <= hosts
