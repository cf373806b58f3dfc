"""The gateway's log: one JSON object a line on standard error, from structlog and from the standard library
alike.

What structlog gets does not pass through the standard library: two lines a session are a good part of what a
log-in costs.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import msgspec
import structlog
import structlog.tracebacks

# Without local variables: among them are passwords, tokens and the data of clients.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


class _StandardError(structlog.BytesLogger):
    """Has the name that ``add_logger_name`` asks for."""

    def __init__(self, name: str = "pgwitness") -> None:
        super().__init__(sys.stderr.buffer)
        self.name = name


def _encode(document: dict[str, Any], **_: Any) -> bytes:
    try:
        return msgspec.json.encode(document, enc_hook=str)
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no bytes for
        return json.dumps(document, default=str).encode("ascii")


def configure(level: int = logging.INFO) -> None:
    """Call once, at the start of the process."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
    ]
    structlog.configure(
        processors=[*shared, _TRACEBACKS, structlog.processors.JSONRenderer(_encode)],
        logger_factory=_StandardError,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _TRACEBACKS,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("uvicorn", "httpx", "asyncio", "alembic"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
