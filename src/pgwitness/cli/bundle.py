"""``pgwitness bundle``: evidence bundles on an auditor's machine. Nothing of a gateway is needed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pgwitness.cli.output import note, private
from pgwitness.errors import InvalidError

app = typer.Typer(help="Read evidence bundles that are encrypted to auditors.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="bundle")


@app.command("open")
def open_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle whose content is encrypted.")],
    identity: Annotated[
        Path, typer.Option("--identity", "-i", metavar="KEYFILE", help="An auditor's age or SSH private key.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the opened bundle goes.")
    ],
) -> None:
    """Open a bundle with an auditor's key: the same proofs, with frames and readable statements beside them.

    The opened bundle discloses the session to whoever has it. Verify it next: pgwitness verify --bundle FILE

    Example: pgwitness bundle open sealed.zip --identity key.txt -o opened.zip
    """
    from pgwitness.record.bundle import disclose, open_bundle
    from pgwitness.record.recipients import read_identities, unwrap
    from pgwitness.review.bundling import SOFTWARE, WRAPPED
    from pgwitness.review.evidence import derive, readme

    if output.exists() and not output.is_file():
        raise InvalidError(f"{output} is no regular file")
    identities = read_identities(identity)
    try:
        with open_bundle(file) as bundle:
            if WRAPPED not in bundle.names:
                raise InvalidError(f"{file} is not encrypted to auditors", hint=f"it has no {WRAPPED}")
            session = bundle.index.session
            secret = unwrap(session, bundle.read(WRAPPED), identities)
            part = output.with_name(output.name + ".part")
            try:
                with open(part, "wb", opener=private) as writing:
                    disclose(
                        writing,
                        bundle,
                        secret,
                        lambda frames: derive(frames) | {"README.txt": readme(session, output.name, "open")},
                        software=SOFTWARE,
                        created=datetime.now(UTC),
                    )
                part.replace(output)
            finally:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidError(f"{error.filename or file}: {error.strerror}") from None
    note(f"{output}: session {session}, opened")
