"""The two forms of a document, and documents as lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pgwitness.config.sinks import Format
from pgwitness.sinks import ocsf
from pgwitness.sinks.items import Item, document

Form = Callable[[Item], dict[str, Any]]

_FORMS: dict[Format, Form] = {"json": document, "ocsf": ocsf.event}
_encoder = msgspec.json.Encoder()


def form(name: Format) -> Form:
    return _FORMS[name]


def lines(items: Iterable[Item], made: Form) -> bytes:
    """One JSON document a line."""
    return _encoder.encode_lines([made(item) for item in items])


def array(items: Iterable[Item], made: Form) -> bytes:
    """One JSON array."""
    return _encoder.encode([made(item) for item in items])


def line(item: Item, made: Form) -> bytes:
    """One JSON document, without a line's end."""
    return _encoder.encode(made(item))
