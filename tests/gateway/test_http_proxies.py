"""Who is believed where a request really comes from."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from pgwitness.gateway.http import HttpServer

FORWARDED = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [
        ((), ["127.0.0.1", "http"]),
        (("192.0.2.1",), ["127.0.0.1", "http"]),
        (("127.0.0.1",), ["203.0.113.9", "https"]),
    ],
)
async def test_only_named_proxies_are(tmp_path: Path, proxies: tuple[str, ...], seen: list[str]) -> None:
    app = FastAPI()

    @app.get("/")
    async def whence(request: Request) -> list[str]:
        assert request.client is not None
        return [request.client.host, request.url.scheme]

    server = HttpServer(app, app, "127.0.0.1", 0, tmp_path / "socket", proxies)
    await server.start()
    try:
        async with httpx.AsyncClient() as client:
            assert (await client.get(server.url, headers=FORWARDED)).json() == seen
    finally:
        await server.stop()
