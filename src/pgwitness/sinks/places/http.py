"""Posting over HTTP, and the webhook: what both it and OTLP need of tokens, compression and answers.

Delivered is what a 2xx answered. Any other answer, and none, means once more: also an answer that looks final
(400, 401, 404), since it is most likely a setting that somebody will mend, and nothing may be lost meanwhile.
Redirections are not followed, as they would take a token elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import hmac
import math
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import httpx

from pgwitness.config.sinks import OtlpSink, WebhookSink
from pgwitness.sinks.forms import Form, array, lines
from pgwitness.sinks.items import Item
from pgwitness.sinks.places import Undeliverable

LONGEST_PAUSE = 300.0
"""That the other side may ask for."""
_LARGEST_ANSWER = 64 << 10
_KINDS = {"lines": "application/x-ndjson", "array": "application/json"}
_HINTS = {
    401: "is the token right?",
    403: "may the token do this?",
    404: "is the address right?",
    301: "it redirects: set the address where it leads",
    302: "it redirects: set the address where it leads",
    307: "it redirects: set the address where it leads",
    308: "it redirects: set the address where it leads",
}


class Poster:
    """Posts bodies to one server."""

    def __init__(self, settings: WebhookSink | OtlpSink) -> None:
        self._settings = settings
        self._client: httpx.Client | None = None

    @property
    def host(self) -> str:
        return httpx.URL(self._settings.url.get_secret_value()).host

    def post(self, url: str, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The answer's content. ``body`` goes as it is. Raises Undeliverable."""
        sent = {"Content-Type": kind, **self._authorization(), **(headers or {})}
        if self._settings.gzip:
            sent["Content-Encoding"] = "gzip"
        try:
            with self._open().stream("POST", url, content=body, headers=sent) as answer:
                content = _read(answer)
        except httpx.TimeoutException:
            raise Undeliverable("it did not answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undeliverable(f"it cannot be reached: {type(error).__name__}") from None
        if not answer.is_success:
            code = answer.status_code
            hint = f": {_HINTS[code]}" if code in _HINTS else ""
            raise Undeliverable(
                f"it answered {code}{hint}", too_large=code == 413, pause=_retry_after(answer)
            )
        return content

    def compress(self, body: bytes) -> bytes:
        """As it is to be sent, and signed."""
        return gzip.compress(body, 3, mtime=0) if self._settings.gzip else body

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _open(self) -> httpx.Client:
        """Raises Undeliverable."""
        if self._client is None:
            authority = self._settings.ca_file
            try:
                trust = ssl.create_default_context(cafile=str(authority)) if authority else True
            except (OSError, ssl.SSLError):
                raise Undeliverable(f"ca_file {authority} cannot be read as PEM") from None
            self._client = httpx.Client(timeout=self._settings.timeout_seconds, verify=trust)
        return self._client

    def _authorization(self) -> dict[str, str]:
        """Raises Undeliverable."""
        settings = self._settings
        token = settings.token.get_secret_value() if settings.token else ""
        if settings.token_file is not None:
            token = _first_line(settings.token_file)
        return {"Authorization": f"Bearer {token}"} if token else {}


class WebhookPlace:
    rejected = 0

    def __init__(self, settings: WebhookSink, form: Form) -> None:
        self._poster = Poster(settings)
        self._url = settings.url.get_secret_value()
        self._form = form
        self._body: Literal["lines", "array"] = settings.body
        self._secret = signing_key(settings.secret.get_secret_value()) if settings.secret else None
        self.name = f"webhook {self._poster.host}"  # the path of a webhook is often its secret
        self.close = self._poster.close

    def deliver(self, items: Sequence[Item]) -> None:
        """Raises Undeliverable."""
        plain = (lines if self._body == "lines" else array)(items, self._form)
        body = self._poster.compress(plain)
        headers = {}
        if self._secret is not None:
            headers = signature(self._secret, _batch_id(items), int(time.time()), body)
        self._poster.post(self._url, body, _KINDS[self._body], headers)


def signing_key(secret: str) -> bytes:
    """``whsec_`` and base64 is the specification's form; anything else is taken as it is."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signature(key: bytes, identifier: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of https://github.com/standard-webhooks/standard-webhooks, over the body as it is sent."""
    signed = hmac.new(key, f"{identifier}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
    }


def _batch_id(items: Sequence[Item]) -> str:
    """The same for the same items."""
    return "msg_" + hashlib.sha256("\n".join(item.id for item in items).encode()).hexdigest()[:32]


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        raise Undeliverable(f"token_file {path} cannot be read") from None


def _read(answer: httpx.Response) -> bytes:
    content = b""
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > _LARGEST_ANSWER:
            raise Undeliverable("its answer is too long")
    return content


def _retry_after(answer: httpx.Response) -> float:
    """Seconds; a date counts as no wish, since it rests on somebody else's clock."""
    try:
        seconds = float(answer.headers.get("retry-after", "0"))
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else 0.0
