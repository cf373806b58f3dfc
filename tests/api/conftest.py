from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pgwitness.api.app import create_app
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services, open_services
from pgwitness.config import Settings

SERVER = {"host": "db.example", "database": "shop", "user": "app"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    services = open_services(settings)
    yield services
    services.close()


def http(services: Services, *, local: bool, token: str | None = None) -> httpx.Client:
    return httpx.Client(
        transport=InProcessTransport(create_app(services, local=local)),
        base_url="http://pgwitness/api/v1",
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


@pytest.fixture
def local(services: Services) -> Iterator[httpx.Client]:
    with http(services, local=True) as client:
        yield client


@pytest.fixture
def remote(services: Services) -> Iterator[httpx.Client]:
    with http(services, local=False) as client:
        yield client
