"""The baseline of the server's counters moves on only when what was found against it is kept."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from pgwitness.catalog.findings import Findings
from pgwitness.catalog.models import Connection
from pgwitness.errors import UnavailableError
from pgwitness.watch import counters
from pgwitness.watch.compare import Comparison, Difference
from pgwitness.watch.counters import Counters, pack, unpack
from pgwitness.watch.place import Tools
from pgwitness.watch.watcher import Means, Watcher


class Catalog:
    """Of findings, that can be away when something is to be kept."""

    def __init__(self) -> None:
        self.away = False
        self.kept = pack(counted(1))
        self.found: list[str] = []

    def baseline(self, _: str) -> bytes:
        return self.kept

    def keep_baseline(self, _: str, data: bytes) -> None:
        self.kept = data

    def list(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def saw(self, _: str, found: Any, **__: Any) -> list[Any]:
        if self.away:
            raise UnavailableError("the catalog is away")
        self.found += [one.key for one in found]
        return []


class Place:
    """Always there, with nothing to look at."""

    name = "db:5432"

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def look(self) -> None:
        pass

    def close(self) -> None:
        pass


def counted(position: int) -> Counters:
    return Counters("2026-11-22T12:00:00.000000+00:00", position, None, 0, "1", {}, "db:5432", [])


async def test_a_finding_that_could_not_be_kept_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read(*_: Any) -> Counters:
        return counted(2)

    async def ask(*_: Any) -> Comparison:
        around = Difference("shop", "fp:1", "UPDATE t SET a = $1", 1000, 1000)
        return Comparison("before", "now", unrecorded=[around])

    monkeypatch.setattr(counters, "read", read)
    catalog = Catalog()
    means = Means(
        cast("Tools", None), cast("Findings", catalog), Path(), lambda: 2, print, print, lambda *_: []
    )
    connection = Connection(
        id="1", name="shop", host="db", port="5432", database="shop", user="app", created_at=datetime.now(UTC)
    )
    watcher = Watcher(means, connection, None, ())
    watcher._places = [cast("Any", Place())]
    monkeypatch.setattr(watcher, "_ask", ask)

    catalog.away = True
    with pytest.raises(UnavailableError):
        await watcher.rest(("statements",))
    left = unpack(catalog.kept)
    assert left is not None and left.position == 1
    catalog.away = False
    await watcher.rest(("statements",))
    assert len(catalog.found) == 1
    moved = unpack(catalog.kept)
    assert moved is not None and moved.position == 2
