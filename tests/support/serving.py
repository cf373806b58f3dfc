"""The whole site on a state directory, without a gateway: for pages about sessions that no client makes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from pgwitness.api.services import open_services
from pgwitness.config import Settings
from pgwitness.web.app import create_site
from support.waiting import wait_until


@contextmanager
def served(state: Path, **settings: Any) -> Iterator[str]:
    """Its address. Whoever reaches it needs no sign-in."""
    services = open_services(Settings(state=state, **settings))
    site = create_site(services, local=True)
    server = uvicorn.Server(
        uvicorn.Config(site, host="127.0.0.1", port=0, log_level="warning", ws="none", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        (listener,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        services.close()
