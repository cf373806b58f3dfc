"""The gateway's side of joining (docs/tunnel.md): one conversation for each who comes with a join token.

A connector is on record before it holds its certificate, and who is refused is on record with the reason.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import structlog

from pgwitness._core import Stream, StreamError, TapeError
from pgwitness.catalog.models import Certificate
from pgwitness.errors import ConnectorRefused, WitnessError
from pgwitness.gateway.recorder import Recorder
from pgwitness.identity.enrolment import Enrolment
from pgwitness.tunnel.streams import receive, send
from pgwitness.wire.tunnel import (
    Authority,
    Join,
    Joined,
    MalformedTunnelMessageError,
    Refused,
    RefusedCode,
    expect,
)

log = structlog.get_logger("pgwitness.enrolment")

JOIN_SECONDS: Final = 20.0
_SHOWN: Final = 63  # of what a stranger says that it is


async def enrol(stream: Stream, enrolment: Enrolment, recorder: Recorder) -> None:
    """From the end of the TLS handshake to the end of the stream. Raises nothing but CancelledError."""
    said: dict[str, Any] = {"address": stream.peer}
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            await send(stream, Authority(enrolment.authority.pem.decode()))
            join = expect(await receive(stream), Join)
            said |= {"token": join.token[:_SHOWN], "name": join.name[:_SHOWN]}
            certificate, pem = await asyncio.to_thread(
                enrolment.join, join.token, join.secret, join.csr.encode(), join.name
            )
            _record(recorder, said, certificate, join.software[:_SHOWN])
            await send(stream, Joined(certificate.connector, pem.decode()))
            await stream.close()
    except ConnectorRefused as error:
        await _refuse(stream, recorder, said, "token", str(error))
    except MalformedTunnelMessageError as error:
        await _refuse(stream, recorder, said, "message", str(error))
    except (StreamError, TimeoutError) as error:
        log.debug("joining_broken_off", **said, error=str(error))
    except (WitnessError, TapeError) as error:
        log.error("joining_failed", **said, error=str(error))
        await _say(stream, Refused("internal", "the gateway failed; its log says why"))
    except Exception:
        log.exception("joining_failed", **said)
    finally:
        stream.abort()


def _record(recorder: Recorder, said: dict[str, Any], certificate: Certificate, software: str) -> None:
    """Raises TapeError: then the connector does not get its certificate."""
    told = {
        "address": said["address"],
        "token": said["token"],
        "software": software,
        "connector": certificate.connector,
        "serial": certificate.serial,
        "not_after": certificate.not_after.isoformat(),
    }
    recorder.record({"event": "connector_enrolled", **told})
    log.info("connector_enrolled", **told)


async def _refuse(
    stream: Stream, recorder: Recorder, said: dict[str, Any], code: RefusedCode, why: str
) -> None:
    log.warning("connector_refused", **said, why=why)
    recorder.refused({"event": "connector_refused", **said, "why": why})
    await _say(stream, Refused(code, why))


async def _say(stream: Stream, message: Refused) -> None:
    """The last word, if the peer still listens."""
    with suppress(StreamError, TimeoutError):
        async with asyncio.timeout(JOIN_SECONDS):
            await send(stream, message)
            await stream.close()
