"""The one way to the API that all commands take, wherever it is.

``connect`` chooses: the address in ``PGWITNESS_URL`` with the token in ``PGWITNESS_TOKEN``; else the
gateway that serves on the Unix socket of the state directory; else, so that the record stays readable
while the gateway is down, the application in this process on that directory. Errors come back as those
of ``pgwitness.errors``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from pgwitness.api.problems import error_of
from pgwitness.config import Settings
from pgwitness.errors import InvalidError, UnavailableError

URL_VARIABLE = "PGWITNESS_URL"
TOKEN_VARIABLE = "PGWITNESS_TOKEN"  # noqa: S105  the name of a variable
PREFIX = "/api/v1"

_PAGE = 1000
_TIMEOUT = httpx.Timeout(60, connect=10)
_WORKING = httpx.Timeout(600, connect=10)  # what is sent is worked on before the first word of the answer
_LOCAL_HOST = "pgwitness"
_LOCAL = f"http://{_LOCAL_HOST}"
_WAY = "The API is for its own machine: come through ssh -L 7480:127.0.0.1:7480 GATEWAY, or a TLS proxy"


class Client:
    """Paths are relative to ``/api/v1``. Use as a context manager."""

    def __init__(self, http: httpx.Client, *, where: str, remote: bool, close: Callable[[], None]) -> None:
        self._http = http
        self._close = close
        self.where = where
        """Whom it talks to, in words."""
        self.remote = remote
        """Whether a gateway is there, and not the application in this process."""
        self._elsewhere = http.base_url.host not in (_LOCAL_HOST, "localhost", "127.0.0.1", "::1")

    def get(self, path: str, **params: Any) -> Any:
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any = None, **params: Any) -> Any:
        return self.request("POST", path, body=body, params=params)

    def put(self, path: str, body: Any = None) -> Any:
        return self.request("PUT", path, body=body)

    def request(
        self, method: str, path: str, *, body: Any = None, params: dict[str, Any] | None = None
    ) -> Any:
        """The decoded answer, None if it is empty. Parameters that are None are left out."""
        with self._explained():
            response = self._http.request(method, PREFIX + path, json=body, params=_given(params))
        if response.is_error:
            raise _error(response)
        return response.json() if response.content else None

    def items(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[Any]:
        """Of a listing that comes in pages: all of them, or so many."""
        cursor, left = None, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            page = self.get(path, **params, limit=size, cursor=cursor)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return
            left = None if left is None else left - len(page["items"])

    def stream(self, path: str, **params: Any) -> Iterator[bytes]:
        """The pieces of a long answer as they come."""
        yield from self._stream("GET", path, None, params)

    def upload(self, path: str, content: bytes, **params: Any) -> Iterator[bytes]:
        """Send a file; the lines of the answer, as ``lines`` gives them."""
        return self._lines(self._stream("POST", path, content, params))

    def _stream(
        self, method: str, path: str, content: bytes | None, params: dict[str, Any]
    ) -> Iterator[bytes]:
        with (
            self._explained(),
            self._http.stream(
                method,
                PREFIX + path,
                content=content,
                params=_given(params),
                timeout=_TIMEOUT if content is None else _WORKING,
            ) as response,
        ):
            if response.is_error:
                response.read()
                raise _error(response)
            yield from response.iter_bytes()

    def lines(self, path: str, **params: Any) -> Iterator[bytes]:
        """The lines of a long answer as they come, without their ends: JSON Lines, one document each."""
        return self._lines(self.stream(path, **params))

    def _lines(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        rest = b""
        for piece in pieces:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            raise UnavailableError(f"the answer of {self.where} broke off")

    def close(self) -> None:
        self._http.close()
        self._close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException:
            raise UnavailableError(f"{self.where} does not answer") from None
        except httpx.RemoteProtocolError:
            raise UnavailableError(f"the answer of {self.where} broke off") from None
        except httpx.TransportError as error:
            raise UnavailableError(f"cannot reach {self.where}: {error}", hint=self._hint(error)) from None

    def _hint(self, error: httpx.TransportError) -> str | None:
        if "WRONG_VERSION_NUMBER" in str(error):
            return f"it speaks HTTP without TLS there: http:// in {URL_VARIABLE}. {_WAY}"
        return _WAY if self._elsewhere else None


def connect(settings: Settings, *, new: bool = False) -> Client:
    """``new``: a state directory that holds nothing yet is begun; otherwise it is an error, as it is most
    likely the wrong one, and to find nothing there would say that nothing happened.

    Raises InvalidError for what the environment says, UnavailableError if the catalog cannot be opened.
    """
    url = os.environ.get(URL_VARIABLE)
    if url:
        return _remote(url, os.environ.get(TOKEN_VARIABLE))
    if _answers(settings):
        http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(settings.admin_socket)), base_url=_LOCAL, timeout=_TIMEOUT
        )
        return Client(http, where=f"the gateway on {settings.state}", remote=True, close=lambda: None)
    if not new and not settings.has_catalog and not settings.has_record:
        raise no_record(settings.state)
    return _in_process(settings)


def no_record(state: Path) -> UnavailableError:
    """Of a state directory, most likely a wrong one."""
    return UnavailableError(
        f"{state} holds no record",
        hint=f"set --state or PGWITNESS_STATE, or {URL_VARIABLE} for a gateway elsewhere; "
        "pgwitness gateway begins a new one",
    )


def path(*parts: str) -> str:
    """A path whose parts may hold anything that can be a name. Raises InvalidError: without a part, or with
    one that steps up, it would be another path.
    """
    for part in parts:
        if part.strip() in ("", ".", ".."):
            raise InvalidError(f"{part!r} is not a name or an id")
    return "".join("/" + quote(part, safe="") for part in parts)


def _remote(url: str, token: str | None) -> Client:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidError(
            f"{URL_VARIABLE} is not an address", hint=f"for example http://127.0.0.1:7480. {_WAY}"
        )
    if not token:
        raise InvalidError(
            f"{URL_VARIABLE} is set and {TOKEN_VARIABLE} is not",
            hint="on the gateway's machine: pgwitness token issue YOU --role admin",
        )
    headers = {"Authorization": f"Bearer {token}"}
    http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT)
    return Client(http, where=f"the gateway at {url}", remote=True, close=lambda: None)


def _answers(settings: Settings) -> bool:
    """Whether somebody serves the socket; one that a dead gateway left behind refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(settings.admin_socket))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError as error:
            if error.errno is None:  # the path is too long for a socket, so no gateway serves there
                return False
            raise UnavailableError(
                f"cannot use {settings.admin_socket}: {error.strerror}",
                hint=f"run it as the account of the gateway, or set {URL_VARIABLE} and {TOKEN_VARIABLE}",
            ) from None
    return True


def _in_process(settings: Settings) -> Client:
    from pgwitness.api.app import create_app
    from pgwitness.api.inprocess import InProcessTransport
    from pgwitness.api.services import open_services

    services = open_services(settings)
    http = httpx.Client(
        transport=InProcessTransport(create_app(services, local=True)), base_url=_LOCAL, timeout=_TIMEOUT
    )
    return Client(http, where=f"the state directory {settings.state}", remote=False, close=services.close)


def _given(params: dict[str, Any] | None) -> dict[str, Any]:
    """Raises InvalidError for what is empty: a filter that asks for nothing would find everything."""
    given = {name: value for name, value in (params or {}).items() if value is not None}
    for name, value in given.items():
        if value == "":
            raise InvalidError(f"{name.replace('_', '-')} is empty", hint="leave it out to ask for all")
    return given


def _error(response: httpx.Response) -> Exception:
    try:
        document = response.json()
    except ValueError:
        document = None
    return error_of(document, response.status_code)
