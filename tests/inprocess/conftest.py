"""A collector for the module, as the gateway's tests have it."""

from __future__ import annotations

from tests.gateway.conftest import collector as collector
from tests.gateway.conftest import shared_collector as shared_collector
