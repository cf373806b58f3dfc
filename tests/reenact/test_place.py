"""Whether a place is a registered connection's: by its address, or by what the server behind it says."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from pgwitness.api import reenact

THERE = reenact.Place(
    addresses=["192.0.2.7"], ports=[5432], database="shop", system_identifier="71", started="17.5"
)


def _judge(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], **addresses: str) -> reenact.Judgement:
    def ask(_: Any, name: str, *__: Any, **___: Any) -> Any:
        if answers[name] == "late":
            time.sleep(2)
        return None if answers[name] == "late" else answers[name]

    monkeypatch.setattr(reenact.check, "ask", ask)
    monkeypatch.setattr(reenact, "_ASK_SECONDS", 0.5)
    connections = [
        SimpleNamespace(name=name, addresses=[(address, 5432)], database="shop", also_databases=())
        for name, address in addresses.items()
    ]
    services: Any = SimpleNamespace(
        catalog=SimpleNamespace(connections=SimpleNamespace(list=lambda: connections)),
        live=None,
        postgres_address=("192.0.2.1", 6432),
    )
    reader: Any = SimpleNamespace(actor="a", reaches=lambda name: True)
    return reenact.judge(services, reader, THERE)


def test_any_registered_server_is_recognized_by_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"own": ("1", "2"), "other": ("71", "17.5"), "copied": ("71", "99")}
    found = _judge(monkeypatch, answers, own="192.0.2.2", other="192.0.2.3", copied="192.0.2.4")
    assert [known.connection for known in found.registered] == ["other"] and found.not_checked == []


def test_an_address_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _judge(monkeypatch, {"other": ("1", "2")}, other="192.0.2.7")
    assert [known.connection for known in found.registered] == ["other"]


def test_who_does_not_tell_in_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _judge(monkeypatch, {"own": None, "slow": "late"}, own="192.0.2.2", slow="192.0.2.3")
    assert found.registered == [] and found.not_checked == ["own", "slow"]
