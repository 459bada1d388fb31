"""A collector for the module and a world for each test, as the gateway's tests have them."""

from __future__ import annotations

from tests.gateway.conftest import collector as collector
from tests.gateway.conftest import shared_collector as shared_collector
from tests.gateway.conftest import world as world
