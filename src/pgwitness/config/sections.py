"""The sections of the settings: each what one room of the gateway may be told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from pgwitness.errors import RecordBroken

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0)]
LocalPath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TlsSettings(_Section):
    """How clients reach the gateway."""

    certificate: Annotated[
        LocalPath | None,
        Field(
            description="PEM file with the gateway's certificate chain. Unset: a certificate of the "
            "gateway's own authority is made on first start under `STATE/tls`."
        ),
    ] = None
    private_key: Annotated[
        LocalPath | None, Field(description="PEM file with the private key of `tls.certificate`.")
    ] = None
    plaintext: Annotated[
        Literal["loopback", "never", "always"],
        Field(description="Who may connect without TLS: clients on the same machine, nobody, or everybody."),
    ] = "loopback"


class TunnelSettings(_Section):
    """How connectors reach the gateway."""

    certificate_seconds: Annotated[
        float,
        Field(
            ge=2,
            le=30 * 86400,
            description="Life of a connector's certificate, which renews it at half of that. A connector "
            "that was away for longer has to join anew.",
        ),
    ] = 86400


class LimitSettings(_Section):
    """What one client, or a crowd of them, may take."""

    startup_seconds: Annotated[
        Seconds, Field(description="Time that a client has from connecting to being logged in.")
    ] = 20
    unauthenticated: Annotated[
        int, Field(ge=1, description="Connections that may be in log-in at the same time.")
    ] = 200
    sessions: Annotated[int, Field(ge=1, description="Sessions that may be open at the same time.")] = 2000
    idle_seconds: Annotated[
        Seconds, Field(description="A session this long without a byte is ended. 0: never.")
    ] = 0
    connect_seconds: Annotated[
        Seconds,
        Field(description="Time to reach PostgreSQL and log in there, unless the connection sets its own."),
    ] = 10
    drain_seconds: Annotated[
        Seconds,
        Field(
            description="After SIGTERM, time that statements which run have to come to their end. A session "
            "without one ends at once, and its open transaction is rolled back."
        ),
    ] = 30


class HttpSettings(_Section):
    """Who asks the API and the pages, and how often. The Unix socket of the state directory has no limits."""

    requests_per_second: Annotated[
        float,
        Field(
            ge=0,
            description="Requests of one token in the long run, and of one address without a token. More are "
            "answered 429. 0: no limit.",
        ),
    ] = 50
    requests_burst: Annotated[
        int, Field(ge=1, description="Requests that may come at once before that counts.")
    ] = 500
    failures_per_minute: Annotated[
        float,
        Field(
            ge=0,
            description="Wrong tokens that one address may send. Tokens that were right before go on. "
            "0: no limit.",
        ),
    ] = 10
    sign_in_hours: Annotated[
        float,
        Field(gt=0, le=168, description="A sign-in at the pages ends after this, or with its token."),
    ] = 12
    trusted_proxies: Annotated[
        tuple[str, ...],
        Field(
            description="Addresses of TLS proxies in front of the API, whose X-Forwarded-For and "
            "X-Forwarded-Proto are believed."
        ),
    ] = ()


class TapeSettings(_Section):
    """The files that a session is recorded to."""

    durability: Annotated[
        Literal["process", "disk"],
        Field(
            description="`process`: the record survives the death of the gateway. `disk`: it is on stable "
            "storage before a statement is forwarded, and so survives the death of the machine."
        ),
    ] = "process"
    segment_bytes: Annotated[
        int,
        Field(
            ge=4 * 1024 * 1024,
            le=1024 * 1024 * 1024,
            multiple_of=4096,
            description="Size of one file of the tape, a multiple of 4096.",
        ),
    ] = 64 * 1024 * 1024


class SealSettings(_Section):
    """How the tape becomes the signed record."""

    enabled: Annotated[
        bool,
        Field(
            description="Seal the tape into the record. Without it the tape is kept, and nothing proves that "
            "it was not changed."
        ),
    ] = True
    round_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=3600,
            description="What sessions did for this long is sealed together, under one checkpoint. Longer "
            "rounds take less room; what is not sealed yet rests on the tape alone.",
        ),
    ] = 1
    keep_tape_seconds: Annotated[
        float,
        Field(
            ge=-1,
            description="How long a segment of the tape is kept after all of it is sealed and indexed. "
            "-1: for ever.",
        ),
    ] = 0
    recipients: Annotated[
        tuple[str, ...],
        Field(
            description="Auditors' age recipients (`age1…`, or SSH public keys), to which each session's "
            "secret is encrypted."
        ),
    ] = ()
    readable: Annotated[
        bool,
        Field(
            description="With recipients: whether the gateway keeps the secrets, too. If not, it destroys a "
            "session's when the session has ended, and then only the recipients can read what is sealed."
        ),
    ] = True

    @model_validator(mode="after")
    def _somebody_can_read(self) -> SealSettings:
        if not self.readable and not self.recipients:
            raise ValueError("readable = false needs recipients: nobody could ever read the record")
        return self


def _witness_key(key: str) -> str:
    from pgwitness.record.witness import parse_witness_key  # loads cryptography, which few commands need

    try:
        parse_witness_key(key)
    except RecordBroken as error:
        raise ValueError(str(error)) from None
    return key


class WitnessSettings(_Section):
    """A witness of https://c2sp.org/tlog-witness."""

    url: Annotated[str, Field(pattern="^https?://", description="Its submission prefix.")]
    key: Annotated[
        str,
        AfterValidator(_witness_key),
        Field(description="Its verifier key: name+id+key, in the form of signed notes."),
    ]


class HeadSettings(_Section):
    """Where each checkpoint is sent, so that a record which is cut off or forged later is found out."""

    file: Annotated[
        LocalPath | None,
        Field(description="File that each checkpoint replaces, on a disk of somebody else's."),
    ] = None
    webhook: Annotated[
        SecretStr | None, Field(description="URL that each checkpoint is posted to, as text.")
    ] = None
    witnesses: Annotated[
        tuple[WitnessSettings, ...],
        Field(
            description="Witnesses of https://c2sp.org/tlog-witness that cosign checkpoints: tables with "
            "`url` and `key`."
        ),
    ] = ()
    tell_clients: Annotated[
        bool,
        Field(
            description="Tell each client at log-in the checkpoint in force, as the parameter "
            "`pgwitness.checkpoint`."
        ),
    ] = False


class IndexSettings(_Section):
    """What the index keeps for searches. The tape and the sealed record keep everything."""

    text: Annotated[
        Literal["all", "normalised", "none"],
        Field(
            description="Of the text of statements: `all`, with bound values; `normalised`, without "
            "literals, values, comments and messages of errors; `none`. Another value makes the index anew."
        ),
    ] = "all"


class WatchSettings(_Section):
    """Whether anybody goes around the gateway (`pgwitness watch`)."""

    interval_seconds: Annotated[
        Seconds,
        Field(description="Between two looks at each server's sessions in the background. 0: no such looks."),
    ] = 5
    rest_seconds: Annotated[
        float,
        Field(ge=1, description="Between two looks at ways in, features and the server's counters."),
    ] = 300
    expected_roles: Annotated[
        tuple[str, ...],
        Field(
            description="Other roles whose sessions in a watched database are in order: monitoring, backups, "
            "the application itself. Never the registered role."
        ),
    ] = ()
    through: Annotated[
        dict[str, str],
        Field(description="Connection to the connection to look with, as a role of `pg_monitor` sees more."),
    ] = {}


class RetentionSettings(_Section):
    """How long sessions are kept. `pgwitness retention set` has the last word for a connection."""

    days: Annotated[
        float,
        Field(
            ge=0,
            description="Sessions that ended longer ago are erased, unless they are held or their connection "
            "has a rule of its own. 0: kept for ever.",
        ),
    ] = 0
    check_seconds: Annotated[
        Seconds, Field(gt=0, description="How often the gateway looks for sessions that are due.")
    ] = 3600
