"""What was found stays readable when no gateway runs; looking needs one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgwitness import cli
from pgwitness.api import metrics
from pgwitness.api.services import open_services
from pgwitness.catalog.findings import Found
from pgwitness.config import Settings


@pytest.fixture
def with_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    monkeypatch.setenv("PGWITNESS_STATE", str(state))
    monkeypatch.delenv("PGWITNESS_URL", raising=False)
    services = open_services(Settings(state=state))
    services.catalog.connections.add("shop", {"host": "db", "database": "shop", "user": "app"}, actor="test")
    found = Found(key="route-superuser", kind="route", level="weakness", what="app is a superuser")
    services.catalog.findings.saw("shop", [found], gone=(), at=datetime.now(UTC))
    figures = metrics.render(services).decode()
    assert 'pgwitness_watch_findings{connection="shop",level="weakness"} 1.0' in figures
    assert 'pgwitness_watch_findings{connection="shop",level="alarm"} 0.0' in figures
    services.close()


@pytest.mark.usefixtures("with_a_finding")
def test_findings_are_listed_and_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["watch", "shop", "--all"]) == 0
    assert "app is a superuser" in capsys.readouterr().out
    assert cli.run(["connection", "list"]) == 0
    assert "1 weakness" in capsys.readouterr().out
    assert cli.run(["watch", "shop", "--accept", "route-superuser"]) == 0
    assert cli.run(["connection", "list"]) == 0
    assert "weakness" not in capsys.readouterr().out
    assert cli.run(["watch", "shop", "--accept", "route-nothing"]) == 2
    assert "has no finding 'route-nothing'" in capsys.readouterr().err


@pytest.mark.usefixtures("with_a_finding")
def test_nobody_can_look(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["watch", "shop"]) == 2
    assert "only a running gateway can look" in capsys.readouterr().err
