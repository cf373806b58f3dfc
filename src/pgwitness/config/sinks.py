"""Settings of sinks: where the record's statements and events are sent, in what form, and how much of them.

One table a sink, ``[sinks.NAME]``, told apart by ``kind``. A name is such that environment variables can say
it, since that is where a sink's secrets belong: ``PGWITNESS_SINKS__SIEM__TOKEN``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from pgwitness.config.sections import LocalPath

Sends = Literal["statements", "sessions", "refusals", "findings"]
Format = Literal["json", "ocsf"]
FormatField = Annotated[
    Format, Field(description="`json`: our own documents; `ocsf`: events of OCSF 1.7.0 (docs/sinks.md).")
]


def _http(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("http://", "https://")):
        raise ValueError("an address begins with http:// or https://")
    return url


class _Sink(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sql: Annotated[
        Literal["whole", "normalised", "withheld"],
        Field(
            description="The text of statements: `whole`; `normalised`, without literals, comments and "
            "messages of errors; or `withheld`. Never more than the index keeps (`index.text`)."
        ),
    ] = "normalised"
    parameters: Annotated[bool, Field(description="Whether bound values go, too.")] = False
    send: Annotated[
        tuple[Sends, ...],
        Field(
            min_length=1,
            description="What goes: `statements`; `sessions`, their start, end and kills; `refusals` of "
            "log-ins; `findings` of the watch.",
        ),
    ] = ("statements", "sessions", "refusals", "findings")
    open_after_seconds: Annotated[
        float,
        Field(
            ge=1,
            description="A statement whose transaction is not settled by then is announced as open; it "
            "comes again, with what became of it.",
        ),
    ] = 60
    longest_text: Annotated[
        int,
        Field(
            ge=256,
            le=16 << 20,
            description="Characters of a text or bound value beyond which it is cut, and says so.",
        ),
    ] = 65536
    from_beginning: Annotated[
        bool,
        Field(
            description="A new sink gets all that the index has. Otherwise what is recorded from the start "
            "of the gateway on, with which it was set."
        ),
    ] = False


class FileSink(_Sink):
    """JSON Lines in a file. Moved away (logrotate), it is made anew."""

    kind: Literal["file"]
    path: Annotated[LocalPath, Field(description="The file. Its directory must be there.")]
    format: FormatField = "json"
    fsync: Annotated[
        bool, Field(description="Have each batch on stable storage before the position moves on.")
    ] = True


class _HttpSink(_Sink):
    url: Annotated[SecretStr, AfterValidator(_http), Field(description="Where to: http or https. Not shown.")]
    timeout_seconds: Annotated[float, Field(gt=0, le=600, description="For one batch.")] = 15
    gzip: Annotated[bool, Field(description="Compress bodies.")] = True
    token: Annotated[SecretStr | None, Field(description="Bearer token, best given by environment.")] = None
    token_file: Annotated[
        LocalPath | None, Field(description="File with the bearer token, read for each batch.")
    ] = None
    ca_file: Annotated[
        LocalPath | None, Field(description="PEM file of the authority to trust. Unset: the usual ones.")
    ] = None

    @model_validator(mode="after")
    def _one_token(self) -> _HttpSink:
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file are both set")
        return self


class WebhookSink(_HttpSink):
    """Batches of JSON Lines, or JSON arrays, by POST."""

    kind: Literal["webhook"]
    format: FormatField = "json"
    body: Annotated[
        Literal["lines", "array"],
        Field(description="`lines`: one document a line (application/x-ndjson); `array`: one JSON array."),
    ] = "lines"
    secret: Annotated[
        SecretStr | None,
        Field(
            description="Each body is signed with it, as https://www.standardwebhooks.com says: `whsec_` and "
            "base64, or any text."
        ),
    ] = None


class OtlpSink(_HttpSink):
    """OpenTelemetry's protocol over HTTP, with its semantic conventions for databases."""

    kind: Literal["otlp"]
    signals: Annotated[
        tuple[Literal["traces", "logs"], ...],
        Field(
            min_length=1,
            description="`traces`: statements and sessions are spans; `logs`: what is no span is a "
            "log record, and everything is if there are no traces.",
        ),
    ] = ("traces", "logs")
    encoding: Annotated[
        Literal["json", "protobuf"],
        Field(description="Of requests. `protobuf` needs the extra: pip install 'pgwitness[otlp]'."),
    ] = "json"


class SyslogSink(_Sink):
    """RFC 5424. It knows no acknowledgement: what docs/sinks.md says of losses holds."""

    kind: Literal["syslog"]
    host: Annotated[str, Field(min_length=1, description="The receiver.")]
    port: Annotated[
        int | None, Field(ge=1, le=65535, description="Its port. Unset: 6514 for tls, 514 for the others.")
    ] = None
    transport: Annotated[
        Literal["udp", "tcp", "tls"], Field(description="How: tcp and tls count octets (RFC 6587, RFC 5425).")
    ] = "tls"
    format: FormatField = "json"
    facility: Annotated[int, Field(ge=0, le=23, description="13 is the log audit, 16 to 23 are local.")] = 13
    longest_message: Annotated[
        int,
        Field(
            ge=2048,
            description="Bytes of a message: texts are cut until it fits. Of UDP at most 65,000 arrive, and "
            "less with some receivers.",
        ),
    ] = 8192
    timeout_seconds: Annotated[float, Field(gt=0, le=600, description="To connect, and for a batch.")] = 15
    ca_file: Annotated[
        LocalPath | None, Field(description="PEM file of the authority to trust. Unset: the usual ones.")
    ] = None

    @property
    def usual_port(self) -> int:
        return self.port or (6514 if self.transport == "tls" else 514)


AnySink = FileSink | WebhookSink | OtlpSink | SyslogSink
SinkSettings = Annotated[AnySink, Field(discriminator="kind")]
SinkName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Sinks = dict[SinkName, SinkSettings]
