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
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from pgwitness.config.sections import (
    HeadSettings,
    HttpSettings,
    IndexSettings,
    LimitSettings,
    LocalPath,
    Port,
    RetentionSettings,
    SealSettings,
    TapeSettings,
    TlsSettings,
    TunnelSettings,
    WatchSettings,
    WitnessSettings,
)
from pgwitness.config.sinks import Sinks
from pgwitness.errors import InvalidError, UnavailableError

__all__ = [
    "HeadSettings",
    "HttpSettings",
    "Settings",
    "WatchSettings",
    "WitnessSettings",
    "load",
]

ENVIRONMENT_PREFIX = "PGWITNESS_"
CONFIG_VARIABLE = "PGWITNESS_CONFIG"


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
