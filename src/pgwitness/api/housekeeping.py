"""What the gateway does for the record it keeps beside serving it: sessions that are due are erased, and a
verification under way ends with it.
"""

from __future__ import annotations

import asyncio
import logging

from pgwitness.api.keeping import keeper
from pgwitness.api.services import Services

_log = logging.getLogger(__name__)


class Housekeeping:
    """``start`` on the gateway's loop, then ``stop``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._services.verifications.close)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._services.settings.retention.check_seconds)
            try:
                erased = await asyncio.to_thread(keeper(self._services).apply)
            except Exception:
                _log.exception("the look for sessions that are due failed")
                continue
            if erased:
                _log.info("%d sessions were due and are being erased", len(erased))
