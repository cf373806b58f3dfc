"""From the connector to its gateway: a TCP connection, then TLS with the one that we belong to."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from pgwitness._core import Engine, Stream, StreamError, TlsClient
from pgwitness.errors import ConnectorRefused, InvalidError, UnavailableError
from pgwitness.tunnel.streams import watch_peer
from pgwitness.upstream.endpoints import UpstreamError, resolve
from pgwitness.wire.tls_names import CertificateNameError, check_host_name
from pgwitness.wire.tunnel import SERVER_NAME, TUNNEL

REACH_SECONDS: Final = 4.0
"""For one address, TLS included: a shorter wait than TCP's own between its later attempts, so that a link
that is back is noticed."""
_CERTIFICATE_ALERTS: Final = ("certificate", "Certificate", "UnknownCA", "AccessDenied", "DecryptError")


class Way:
    """To one gateway. ``find`` an address that answers, then ``secure`` streams to that address: behind a
    load balancer, data connections must get to where the control connection is."""

    def __init__(self, engine: Engine, gateway: str) -> None:
        """``HOST:PORT``. Raises InvalidError."""
        self._engine = engine
        self.gateway = gateway
        self._host, self._port = parse_address(gateway)
        self._executor = ThreadPoolExecutor(1, "resolve")

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def find(self) -> tuple[Stream, str]:
        """A fresh TCP stream, and the address where it leads. Raises UnavailableError."""
        problems: list[str] = []
        try:
            async with asyncio.timeout(REACH_SECONDS):
                addresses = await resolve(self._host, self._port, self._executor)
        except (UpstreamError, TimeoutError) as error:
            raise UnavailableError(
                f"the gateway {self.gateway}: {error or 'no answer of the resolver'}"
            ) from None
        for address in addresses:
            try:
                return await self.dial(address, 0), address
            except UnavailableError as error:
                problems.append(str(error))
        raise UnavailableError(f"the gateway {self.gateway} cannot be reached: {'; '.join(problems)}")

    async def dial(self, address: str, worker: int) -> Stream:
        """Raises UnavailableError."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                stream = await self._engine.connect_tcp(address, self._port, worker)
                await watch_peer(stream)
                return stream
        except TimeoutError:
            raise UnavailableError(f"{address}: no answer within {REACH_SECONDS:g} seconds") from None
        except StreamError as error:
            raise UnavailableError(f"{address}: {error}") from None

    async def secure(self, stream: Stream, config: TlsClient) -> None:
        """Raises UnavailableError, ConnectorRefused."""
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await stream.start_tls_client(config, SERVER_NAME)
            tls = stream.tls
            if tls is None or tls.alpn != TUNNEL:
                raise ConnectorRefused(f"what answers at {self.gateway} does not speak {TUNNEL}")
            check_host_name(tls.peer_certificate or b"", SERVER_NAME)
        except CertificateNameError as error:
            stream.abort()
            raise ConnectorRefused(f"what answers at {self.gateway} is not our gateway: {error}") from None
        except TimeoutError:
            stream.abort()
            raise UnavailableError(f"{self.gateway}: no TLS within {REACH_SECONDS:g} seconds") from None
        except StreamError as error:
            stream.abort()
            raise explain(error, self.gateway) from None
        except BaseException:
            stream.abort()
            raise


def explain(error: StreamError, gateway: str) -> UnavailableError | ConnectorRefused:
    """A TLS failure that trying again does not mend, or any other."""
    text = str(error)
    if "NoApplicationProtocol" in text:
        return ConnectorRefused(
            f"the gateway at {gateway} speaks another version of the tunnel than {TUNNEL}",
            hint="use the same version of pgwitness on both sides",
        )
    if any(word in text for word in _CERTIFICATE_ALERTS):
        return ConnectorRefused(
            f"no trust between us and the gateway at {gateway}: {text}",
            hint="to join anew: pgwitness connector rejoin NAME, at the gateway, gives a token",
        )
    if "handshake eof" in text:
        text = f"closed in the TLS handshake; it is no gateway, or speaks another version than {TUNNEL}"
    return UnavailableError(f"the connection to the gateway at {gateway} failed: {text}")


def parse_address(text: str) -> tuple[str, int]:
    """Of ``HOST:PORT`` or ``[ADDRESS]:PORT``. Raises InvalidError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise InvalidError(
            f"{text!r} is not the address of a gateway", hint="HOST:PORT, such as gw.example:7433"
        )
    return host, int(port)
