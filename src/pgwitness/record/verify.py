"""Verification of a record: everything derived again from the files and a public key
(docs/record-format.md, Verification).

It believes nothing that it has not computed, and it changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.entries import Entry, decode, session_bytes
from pgwitness.record.keys import read_verifiers
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader, read_checkpoint
from pgwitness.record.notes import Note, Verifier
from pgwitness.record.report import Findings, Progress, Report
from pgwitness.record.secrets import Secrets
from pgwitness.record.verify_chains import ChainCheck
from pgwitness.record.verify_chunks import ObjectCheck, SecretOf
from pgwitness.record.verify_heads import HeadCheck
from pgwitness.record.verify_tree import TreeCheck

STEPS = ("key", "checkpoint", "tree", "heads", "chains", "chunks", "contents", "index")


@dataclass(frozen=True, slots=True)
class Options:
    verifiers: Sequence[Verifier] = ()
    """Keys that the caller has from elsewhere. None: the record's own, and a remark that says so."""
    heads: Sequence[tuple[str, bytes]] = ()
    """Checkpoints kept elsewhere: (where from, signed note)."""
    session: str | None = None
    """Chunks of this session only. The tree and the chains are verified whole."""
    threads: int | None = None


@dataclass(slots=True)
class _Run:
    """One verification under way."""

    layout: Layout
    options: Options
    progress: Progress
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report(of=str(self.layout.directory), session=self.options.session)


def verify_record(layout: Layout, options: Options | None = None, progress: Progress | None = None) -> Report:
    """Steps 1 to 7. What is broken is in the report; nothing is raised for it."""
    run = _Run(layout, options or Options(), progress or (lambda step, done, total: None))
    verifiers = check_key(run.report, layout, run.options.verifiers)
    heads = HeadCheck(layout, run.options.heads, verifiers)
    signed = _check_checkpoint(run.report, layout, verifiers)
    if signed is None:
        _skip(run.report, STEPS[2:7], "there is no checkpoint to verify against")
        return run.report
    checkpoint, note = signed
    tree = TreeCheck(layout, checkpoint, heads.sizes, run.progress)
    chains = ChainCheck(run.report, run.options.session)
    for leaf in tree.entries():
        chains.take(*leaf)
    tree.finish(run.report)
    heads.run(run.report, note, checkpoint, tree.roots)
    chains.finish()
    _check_objects(run, checkpoint, chains)
    return run.report.arrange()


def check_key(report: Report, layout: Layout, given: Sequence[Verifier]) -> list[Verifier]:
    """Step 1: which key it is that all rests on."""
    found = report.step("key")
    verifiers = list(given)
    if not verifiers:
        try:
            verifiers = read_verifiers(layout.verifier)
        except RecordBroken as error:
            found.broken(f"there is no key to verify with: {error}", file=layout.verifier.name)
        else:
            report.remark(
                "key",
                "the key is the record's own and was not compared with one from elsewhere: "
                "who could replace the whole record could replace it, too (--key gives yours)",
            )
    elif layout.verifier.exists():
        _compare_keys(found, layout, verifiers)
    report.key = ", ".join(str(verifier) for verifier in verifiers) or None
    found.end("given" if given else "the record's own")
    return verifiers


def _compare_keys(found: Findings, layout: Layout, given: Sequence[Verifier]) -> None:
    """The record's own key file is nothing to rely on, but it must not be another's."""
    try:
        own = read_verifiers(layout.verifier)
    except RecordBroken as error:
        found.broken(f"the record's own key is damaged: {error}", file=layout.verifier.name)
        return
    if not set(own) & set(given):
        found.broken("the record's own key is not the one given", file=layout.verifier.name)


def check_note(report: Report, data: bytes, file: str, verifiers: Sequence[Verifier]) -> Checkpoint | None:
    """Step 2: the checkpoint, if it is one and signed by one of the keys, under that key's name."""
    found = report.step("checkpoint")
    try:
        checkpoint, note = parse_checkpoint(data)
        _signed(checkpoint, note, verifiers)
    except RecordBroken as error:
        found.broken(str(error), file=file)
        found.end("not one to rely on")
        return None
    report.origin = checkpoint.origin
    report.size = checkpoint.size
    report.root = checkpoint.root.hex()
    report.signed = checkpoint.time.isoformat() if checkpoint.time else None
    found.end(f"{checkpoint.size:,} entries, signed {report.signed}")
    return checkpoint


def _check_checkpoint(
    report: Report, layout: Layout, verifiers: Sequence[Verifier]
) -> tuple[Checkpoint, bytes] | None:
    file = str(layout.checkpoint.relative_to(layout.directory))
    try:
        data = read_checkpoint(layout)
    except (RecordBroken, OSError) as error:
        found = report.step("checkpoint")
        found.broken(str(error), file=file)
        found.end("missing")
        return None
    checkpoint = check_note(report, data, file, verifiers)
    return (checkpoint, data) if checkpoint is not None else None


def _signed(checkpoint: Checkpoint, note: Note, verifiers: Sequence[Verifier]) -> None:
    keys = [verifier for verifier in verifiers if verifier.name == checkpoint.origin]
    if verifiers and not keys:
        names = ", ".join(verifier.name for verifier in verifiers)
        raise RecordBroken(f"it is of the log {checkpoint.origin}, and the key is of {names}")
    note.verify(keys)


def _check_objects(run: _Run, checkpoint: Checkpoint, chains: ChainCheck) -> None:
    only = run.options.session
    if only is not None and not chains.indices:
        found = run.report.step("chunks")
        found.broken("the record has no entry of this session", session=only)
        found.end("none")
        run.report.step("contents").skip("there is nothing to open")
        return
    reader = LogReader(run.layout, checkpoint)
    check = ObjectCheck(
        run.layout,
        run.report,
        chains.erased,
        secret_of(run.layout),
        run.progress,
        threads=run.options.threads,
    )
    entries = _readable(reader) if only is None else _some(reader, chains.indices)
    check.run(entries, whole=only is None, total=_total(run.layout) if only is None else 0)
    check.finish((checkpoint.segment, checkpoint.offset), whole=only is None)


def secret_of(layout: Layout) -> SecretOf:
    """Secrets as far as they are in this copy of the record."""
    secrets = Secrets(layout)

    def find(session: str, slot: int | None) -> bytes | None:
        try:
            return None if slot is None else secrets.get(slot, session_bytes(session))
        except (RecordBroken, OSError):
            return None

    return find


def _readable(reader: LogReader) -> Iterator[tuple[int, Entry]]:
    """What cannot be read is a finding of the tree or of the chains already."""
    for number in range(-(-reader.size // 256)):
        try:
            bundle = reader.bundle(number)
        except RecordBroken:
            continue
        for index, data in enumerate(bundle, number * 256):
            try:
                yield index, decode(data)
            except RecordBroken:
                continue


def _some(reader: LogReader, indices: Sequence[int]) -> Iterator[tuple[int, Entry]]:
    for index in indices:
        try:
            yield index, decode(reader.raw_entry(index))
        except (RecordBroken, IndexError):
            continue


def _total(layout: Layout) -> int:
    return sum(layout.segment(number).stat().st_size for number in layout.segment_numbers())


def _skip(report: Report, steps: Sequence[str], why: str) -> None:
    for step in steps:
        report.step(step).skip(why)
