"""Every setting of the gateway and of the commands, read once at the edge and passed inwards as values.

Sources, the first that says something wins: arguments of the command, ``PGWITNESS_*`` environment variables
(``__`` between the levels: ``PGWITNESS_TLS__PLAINTEXT``), the TOML file of ``--config`` or of
``PGWITNESS_CONFIG``, the default. An unknown name in the file is an error, so that a typing mistake never
passes for a default.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from pgwitness.config_sinks import Sinks
from pgwitness.errors import InvalidError, RecordBroken, UnavailableError

ENVIRONMENT_PREFIX = "PGWITNESS_"
CONFIG_VARIABLE = "PGWITNESS_CONFIG"

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


class Settings(BaseSettings):
    """All settings. ``load`` makes one; the rest of the program only reads it."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    state: Annotated[
        LocalPath,
        Field(
            validate_default=True,
            description="Directory of everything that pgwitness keeps: catalog, keys, tape, index.",
        ),
    ] = Path("~/.pgwitness")
    host: Annotated[
        str, Field(description="Address on which PostgreSQL clients and connectors are served.")
    ] = "127.0.0.1"
    port: Annotated[Port, Field(description="Port for PostgreSQL clients. 0 picks a free one.")] = 7432
    tunnel_port: Annotated[Port, Field(description="Port for connectors. 0 picks a free one.")] = 7433
    http_host: Annotated[str, Field(description="Address of the API.")] = "127.0.0.1"
    http_port: Annotated[Port, Field(description="Port of the API. 0 picks a free one.")] = 7480
    results_default: Annotated[
        int,
        Field(
            ge=-1,
            description="Bytes of result rows recorded for each statement where the connection does not say. "
            "-1: all.",
        ),
    ] = 65536
    relay_threads: Annotated[
        int, Field(ge=0, le=256, description="Threads that relay. 0: by the number of cores.")
    ] = 0
    catalog_url: Annotated[
        SecretStr | None,
        Field(description="SQLAlchemy URL of the catalog. Unset: SQLite in the state directory."),
    ] = None
    secret_key: Annotated[
        SecretStr | None,
        Field(
            description="Key under which passwords are encrypted: 32 bytes in URL-safe base64, best given by "
            "environment. Unset: `secret_key_file`."
        ),
    ] = None
    secret_key_file: Annotated[
        LocalPath | None,
        Field(description="File with that key. Unset: `STATE/secret.key`, made on first use."),
    ] = None
    tls: Annotated[TlsSettings, Field(description="How clients reach the gateway.")] = TlsSettings()
    tunnel: Annotated[TunnelSettings, Field(description="How connectors reach the gateway.")] = (
        TunnelSettings()
    )
    limits: Annotated[LimitSettings, Field(description="What clients may take.")] = LimitSettings()
    http: Annotated[HttpSettings, Field(description="Who asks the API and the pages.")] = HttpSettings()
    tape: Annotated[TapeSettings, Field(description="The files that sessions are recorded to.")] = (
        TapeSettings()
    )
    retention: Annotated[RetentionSettings, Field(description="How long sessions are kept.")] = (
        RetentionSettings()
    )
    index: Annotated[IndexSettings, Field(description="What the index keeps for searches.")] = IndexSettings()
    seal: Annotated[SealSettings, Field(description="How the tape becomes the record.")] = SealSettings()
    heads: Annotated[HeadSettings, Field(description="Where checkpoints are sent.")] = HeadSettings()
    watch: Annotated[WatchSettings, Field(description="Who goes around the gateway.")] = WatchSettings()
    sinks: Annotated[
        Sinks,
        Field(description="Where statements and events are sent: a table for each sink (docs/sinks.md)."),
    ] = {}

    @property
    def catalog_location(self) -> str:
        """SQLAlchemy URL of the catalog; it may hold a password."""
        if self.catalog_url is not None:
            return self.catalog_url.get_secret_value()
        return f"sqlite:///{self.state / 'catalog.sqlite'}"

    @property
    def tape_directory(self) -> Path:
        return self.state / "tape"

    @property
    def record_directory(self) -> Path:
        return self.state / "record"

    @property
    def tls_directory(self) -> Path:
        return self.state / "tls"

    @property
    def admin_socket(self) -> Path:
        """Unix socket of the API, for the same user."""
        return self.state / "admin.sock"

    @property
    def key_file(self) -> Path:
        return self.secret_key_file or self.state / "secret.key"

    @property
    def has_record(self) -> bool:
        """Whether a gateway ever recorded in the state directory."""
        places = (self.tape_directory, self.record_directory, self.state / "index.sqlite")
        return any(path.exists() for path in places)

    @property
    def has_catalog(self) -> bool:
        return self.catalog_url is not None or (self.state / "catalog.sqlite").exists()

    def prepare_state(self) -> None:
        """Make the state directory, for this user only. Raises UnavailableError."""
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            ours = not any(self.state.iterdir()) or self.key_file.exists()
            if ours and self.state.stat().st_mode & 0o077 and self.state.stat().st_uid == os.geteuid():
                self.state.chmod(0o700)
        except OSError as error:
            raise UnavailableError(
                f"cannot use the state directory {self.state}: {error.strerror}",
                hint="name another with --state or PGWITNESS_STATE",
            ) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Made directly, settings depend on nothing but the arguments: only ``load`` looks at the world."""
        return (init_settings,)


def load(config: Path | None = None, **arguments: Any) -> Settings:
    """Settings from all sources. Arguments that are None count as not given. Raises InvalidError."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = Path(os.environ[CONFIG_VARIABLE])
    try:
        environment = EnvSettingsSource(Settings)()
        return Settings(**_merge(_merge(_read(config) if config else {}, environment), given))
    except ValidationError as error:
        raise InvalidError(_explain(error), hint="pgwitness docs settings lists every setting") from None
    except SettingsError as error:
        raise InvalidError(str(error), hint="pgwitness docs settings lists every setting") from None


def _merge(beneath: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Sections are joined, everything else is replaced."""
    merged = dict(beneath)
    for name, value in above.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text())
    except OSError as error:
        raise InvalidError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"the configuration {path} is not valid TOML: {error}") from None


def _explain(error: ValidationError) -> str:
    """One line, without the values: one of them may be a secret."""
    parts = []
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"])
        text = _PLAIN.get(problem["type"], problem["msg"])
        parts.append(f"{name}: {text[:1].lower()}{text[1:]}")
    return "invalid settings: " + "; ".join(parts)


_PLAIN = {
    "extra_forbidden": "there is no such setting",
    "int_parsing": "not a whole number",
    "float_parsing": "not a number",
    "bool_parsing": "neither true nor false",
}
