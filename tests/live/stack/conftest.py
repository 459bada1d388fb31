"""Order: within a module that breaks what it looks at, the test that does comes last."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: after the other tests of its module, whatever the random order")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    modules = [item.nodeid.partition("::")[0] for item in items]
    first = {module: at for at, module in reversed(list(enumerate(modules)))}
    order = sorted(
        range(len(items)), key=lambda at: (first[modules[at]], items[at].get_closest_marker("last") is not None, at)
    )
    items[:] = [items[at] for at in order]
