"""What holds for every test: how hypothesis samples, that nothing leaves this machine or is set from outside, and that
the end of a process is in no haste.

OTEL_EVENTS_EXAMPLES sets how many examples a property is tried with (default 50).
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.patience import PATIENCE

_OURS = {
    *("OTEL_EVENTS_BIN", "OTEL_EVENTS_CORPUS", "OTEL_EVENTS_EXAMPLES", "OTEL_EVENTS_LIVE", "OTEL_EVENTS_SEED"),
    "OTEL_EVENTS_WRITE_GOLDEN",
}
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "grpc_proxy"}

# Before any test module is imported, since some read the environment then: what the machine sets for itself would send
# telemetry elsewhere, from here and from the children of tests. A test sees no other OTEL_* variable than it sets.
for _name in set(os.environ) - _OURS:
    if _name.startswith("OTEL_") or _name.lower() in _PROXIES:
        del os.environ[_name]

# No deadline and no "too slow": the machine is shared, and a slow example is no wrong one. In CI the same examples
# every time, so that a red build is red for everyone; elsewhere new ones with every run.
settings.register_profile(
    "suite",
    max_examples=int(os.environ.get("OTEL_EVENTS_EXAMPLES", "50")),
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")

_connect, _connect_ex, _sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto


def _refuse_far(address: Any) -> None:
    """Raise for an internet address that is not loopback; names but localhost are far, Unix sockets near."""
    if not isinstance(address, tuple) or address[0] in ("", "localhost"):
        return
    try:
        near = ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        near = False
    if not near:
        raise AssertionError(f"a test connects to {address}: tests talk to loopback only")


def _near_connect(self: socket.socket, address: Any) -> None:
    _refuse_far(address)
    _connect(self, address)


def _near_connect_ex(self: socket.socket, address: Any) -> int:
    _refuse_far(address)
    return _connect_ex(self, address)


def _near_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
    _refuse_far(rest[-1])
    return _sendto(self, data, *rest)


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Python's own sockets reach loopback only; children and gRPC (C sockets) are on their tests' honour."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _near_connect)
        patch.setattr(socket.socket, "connect_ex", _near_connect_ex)
        patch.setattr(socket.socket, "sendto", _near_sendto)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_haste() -> Iterator[None]:
    """What is sent at the end of a process, or by ``shutdown``, arrives however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otel_events.inprocess.process.EXIT_SECONDS", PATIENCE)
        yield
