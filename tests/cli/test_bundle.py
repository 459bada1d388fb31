"""``otel-events bundle``: all of the stack's files, never over somebody's own changes unless asked to."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from typer.testing import CliRunner

from otel_events.cli import app
from otel_events.cli.bundle import contents
from otel_events.model.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_writes_what_the_source_tree_has(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bundle", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = written(tmp_path)
    assert found == {name: path.read_bytes() for name, path in contents()}
    assert {"collector/gateway.yaml", "collector/compose.yaml", "grafana/dashboards/overview.json"} <= set(found)
    assert not [name for name in found if name.endswith(".py") or "/tests/" in name or "/tools/" in name]


def test_own_changes_are_kept_unless_forced(tmp_path: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["bundle", str(tmp_path)]).exit_code == 0
    mine = tmp_path / "collector" / "gateway.yaml"
    mine.write_text("mine")
    (tmp_path / "collector" / "agent.yaml").unlink()
    refused = run(app, ["bundle", str(tmp_path)])
    assert isinstance(refused.exception, ConfigError)
    assert "collector/gateway.yaml" in str(refused.exception)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "collector" / "agent.yaml").exists()
    assert run(app, ["bundle", "--force", str(tmp_path)]).exit_code == 0
    assert written(tmp_path) == {name: path.read_bytes() for name, path in contents()}


def test_every_file_that_compose_mounts_is_in_the_bundle(tmp_path: Path) -> None:
    names = {name for name, _ in contents()}
    folders = {name.rpartition("/")[0] for name in names}
    compose = yaml.safe_load((ROOT / "collector" / "compose.yaml").read_text())
    mounts = [one.split(":")[0] for service in compose["services"].values() for one in service.get("volumes", [])]
    paths = [mount for mount in mounts if mount.startswith(".")]
    assert len(paths) > 6
    for path in paths:
        inner = re.sub(r"^collector/\.\./", "", f"collector/{path.removeprefix('./')}")
        assert inner in names or inner in folders or any(one.startswith(f"{inner}/") for one in folders), path
