"""Verification, step 4: checkpoints of this log that somebody else kept, and what witnesses signed.

A log that was cut off or written anew by its keeper is sound in itself. A head in other hands is what tells.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.layout import Layout
from pgwitness.record.notes import COSIGNATURE, Note, Verifier
from pgwitness.record.report import Findings, Report
from pgwitness.record.witness import cosignature_holds, cosigned_at

Head = tuple[str, bytes]
"""(where from, signed note)"""


class HeadCheck:
    """Heads that were given, and the last cosigned one that the record itself keeps."""

    def __init__(self, layout: Layout, given: Sequence[Head], verifiers: Sequence[Verifier]) -> None:
        """To be made before the checkpoint is read: what a running sealer writes then is later."""
        self._given = list(given)
        self._verifiers = verifiers
        self._witnesses = [each for each in verifiers if each.type == COSIGNATURE]
        self._own = _own(layout)

    @property
    def sizes(self) -> list[int]:
        """Of which smaller trees the roots are wanted."""
        sizes = []
        for _, data in self._given + self._own:
            try:
                sizes.append(parse_checkpoint(data)[0].size)
            except RecordBroken:
                continue
        return sizes

    def run(self, report: Report, note: bytes, checkpoint: Checkpoint, roots: dict[int, bytes]) -> bool:
        """``roots`` by size, of all ``sizes`` that the log has."""
        found = report.step("heads")
        for name, data in self._given:
            self._check(report, found, name, data, checkpoint, roots)
        for name, data in self._own:
            if _later(data, checkpoint):
                text = "is later than the checkpoint: it was copied later (--checkpoint takes it at its word)"
                report.remark("heads", f"{name} {text}")
            else:
                self._check(report, found, name, data, checkpoint, roots)
        self._cosigned(report, found, "log/checkpoint", parse_checkpoint(note)[1])
        if not self._given and not found.problems:
            found.skip(
                "no checkpoint from elsewhere was given; without one, a log that was cut off looks sound"
            )
            return True
        return found.end(f"{len(self._given)} kept elsewhere, each a beginning of this log")

    def _check(
        self,
        report: Report,
        found: Findings,
        name: str,
        data: bytes,
        checkpoint: Checkpoint,
        roots: dict[int, bytes],
    ) -> None:
        try:
            head, note = _head(data, checkpoint.origin, self._verifiers)
        except RecordBroken as error:
            found.broken(f"the checkpoint cannot be relied on: {error}", file=name)
            return
        self._cosigned(report, found, name, note)
        if head.size > checkpoint.size:
            missing = head.size - checkpoint.size
            text = f"the log was cut off: {head.size} entries were signed for, and {missing} of them are gone"
            found.broken(text, file=name, entry=checkpoint.size)
        elif roots.get(head.size) != head.root:
            text = f"the log was rewritten: its first {head.size} entries are not those signed for here"
            found.broken(text, file=name)

    def _cosigned(self, report: Report, found: Findings, name: str, note: Note) -> None:
        """What the witnesses whose keys were given say to it."""
        for witness in self._witnesses:
            for signature in note.signatures:
                if (signature.name, signature.key_id) != (witness.name, witness.id):
                    continue
                if cosignature_holds(witness, note.text, signature):
                    moment = datetime.fromtimestamp(cosigned_at(signature), UTC).isoformat()
                    size = note.text.split("\n")[1]
                    report.remark(
                        "witness", f"{witness.name} saw the first {size} entries at {moment} ({name})"
                    )
                else:
                    found.broken(f"the cosignature of {witness.name} does not fit", file=name)


def _own(layout: Layout) -> list[Head]:
    try:
        return [("log/witnessed", layout.witnessed.read_bytes())]
    except FileNotFoundError:
        return []
    except OSError:
        return [("log/witnessed", b"")]


def _later(data: bytes, checkpoint: Checkpoint) -> bool:
    try:
        return parse_checkpoint(data)[0].size > checkpoint.size
    except RecordBroken:
        return False


def _head(data: bytes, origin: str, verifiers: Sequence[Verifier]) -> tuple[Checkpoint, Note]:
    head, note = parse_checkpoint(data)
    if head.origin != origin:
        raise RecordBroken(f"it is of the log {head.origin}, and this one is {origin}")
    note.verify(verifiers)
    return head, note
