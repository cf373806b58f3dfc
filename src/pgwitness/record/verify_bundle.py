"""Verification of an evidence bundle: the same promises as for a record, for one session, from one file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from pgwitness.errors import RecordBroken
from pgwitness.record.bundle import CHECKPOINT, INDEX, VERIFIER, BundleReader, open_bundle
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.chunks import SECRET_BYTES, Frame, Keys, load, outline, split
from pgwitness.record.entries import Chunk, decode, session_bytes
from pgwitness.record.merkle import inclusion_holds, leaf_hash
from pgwitness.record.notes import Verifier, parse_verifiers
from pgwitness.record.report import Report
from pgwitness.record.verify import check_note
from pgwitness.record.verify_chains import ChainCheck

Derive = Callable[[Iterator[Frame]], Mapping[str, bytes]]
"""The session's frames to the members that people read, as the exporter made them."""

_ABOUT = frozenset({CHECKPOINT, VERIFIER, "README.txt", "secret.age"})
"""Members that say nothing of what the session did."""


def verify_bundle(
    path: Path,
    *,
    verifiers: Sequence[Verifier] = (),
    heads: Sequence[tuple[str, bytes]] = (),
    derive: Derive | None = None,
    software: str = "",
) -> Report:
    """What is broken is in the report. ``derive`` makes ``session.json`` and ``statements.*`` again;
    ``software`` is who does: another version may write them otherwise, which is only a remark. Raises
    OSError."""
    report = Report(of=str(path))
    try:
        with open_bundle(path) as bundle:
            _Check(report, bundle).run(verifiers, heads, derive, software)
    except RecordBroken as error:
        found = report.step("bundle")
        found.broken(str(error), file=path.name)
        found.end("not one that can be read")
    return report.arrange()


class _Check:
    def __init__(self, report: Report, bundle: BundleReader) -> None:
        self._report = report
        self._bundle = bundle
        self._entries: list[tuple[int, bytes]] = []
        self._erased = False
        report.session = bundle.index.session

    def run(
        self,
        given: Sequence[Verifier],
        heads: Sequence[tuple[str, bytes]],
        derive: Derive | None,
        software: str,
    ) -> None:
        self._members()
        verifiers = self._key(given)
        checkpoint = check_note(self._report, self._bundle.read(CHECKPOINT), CHECKPOINT, verifiers)
        if checkpoint is not None:
            self._inclusion(checkpoint)
            self._heads(heads, checkpoint, verifiers)
        self._chain()
        self._chunks()
        opened = self._contents()
        self._derived(derive, software, opened)

    def _members(self) -> None:
        """The bundle itself: complete, nothing damaged, nothing slipped in."""
        found = self._report.step("bundle")
        files = self._bundle.index.files
        for name, expected in files.items():
            try:
                if sha256(self._bundle.read(name)).hexdigest() != expected:
                    found.broken("it is not the file that was put into the bundle", file=name)
            except RecordBroken as error:
                found.broken(str(error), file=name)
        for name in set(self._bundle.names) - set(files) - {INDEX}:
            found.broken("it does not belong to the bundle", file=name)
        for number, proven in enumerate(self._bundle.index.entries):
            try:
                self._entries.append((proven.index, self._bundle.read(f"entries/{number:06}")))
            except RecordBroken as error:
                found.broken(str(error), file=f"entries/{number:06}")
        found.end(f"{len(files):,} files, made {self._bundle.index.created} by {self._bundle.index.software}")

    def _key(self, given: Sequence[Verifier]) -> list[Verifier]:
        found = self._report.step("key")
        verifiers = list(given)
        if not verifiers:
            try:
                verifiers = parse_verifiers(self._bundle.read(VERIFIER).decode(errors="replace"))
            except RecordBroken as error:
                found.broken(str(error), file=VERIFIER)
            text = (
                "the key is the bundle's own and was not compared with one from elsewhere (--key gives yours)"
            )
            self._report.remark("key", text)
        self._report.key = ", ".join(map(str, verifiers)) or None
        found.end("given" if given else "the bundle's own")
        return verifiers

    def _inclusion(self, checkpoint: Checkpoint) -> None:
        found = self._report.step("inclusion")
        for number, ((index, data), proven) in enumerate(
            zip(self._entries, self._bundle.index.entries, strict=False)
        ):
            try:
                proof = [bytes.fromhex(hashed) for hashed in proven.proof]
            except ValueError:
                proof = []
            if not inclusion_holds(leaf_hash(data), index, checkpoint.size, checkpoint.root, proof):
                text = "the proof does not show this entry in the log that was signed"
                found.broken(text, file=f"entries/{number:06}", entry=index)
        found.end(f"{len(self._entries):,} entries proven to be in the log")

    def _heads(
        self, heads: Sequence[tuple[str, bytes]], checkpoint: Checkpoint, verifiers: Sequence[Verifier]
    ) -> None:
        found = self._report.step("heads")
        if not heads:
            found.skip("no checkpoint from elsewhere was given")
            return
        for name, data in heads:
            try:
                head, note = parse_checkpoint(data)
                note.verify(verifiers)
            except RecordBroken as error:
                found.broken(f"the checkpoint that was given cannot be relied on: {error}", file=name)
                continue
            if head.origin != checkpoint.origin or (
                head.size == checkpoint.size and head.root != checkpoint.root
            ):
                found.broken("it is of another log, or the log was rewritten", file=name)
            elif head.size != checkpoint.size:
                text = f"{name} has {head.size:,} entries, the bundle's {checkpoint.size:,}: the record tells"
                self._report.remark("heads", text)
        found.end(f"{len(heads)} kept elsewhere")

    def _chain(self) -> None:
        chain = ChainCheck(self._report, self._bundle.index.session)
        for index, data in self._entries:
            chain.take(index, data, leaf_hash(data))
        foreign = chain.sessions != 1 or len(chain.indices) < 1
        if foreign:
            chain.broken("the bundle does not hold the one session that it names")
        chain.finish()
        self._erased = bool(chain.erased)

    def _chunk_entries(self) -> Iterator[tuple[int, Chunk]]:
        for index, data in self._entries:
            try:
                entry = decode(data)
            except RecordBroken:
                continue
            if isinstance(entry, Chunk):
                yield index, entry

    def _chunks(self) -> None:
        found = self._report.step("chunks")
        count = 0
        for index, entry in self._chunk_entries():
            name = f"chunks/{entry.n:06}"
            if self._erased:
                continue
            count += 1
            try:
                if sha256(self._bundle.read(name)).hexdigest() != entry.stored.sha256:
                    text = "its bytes are not those that were sealed: their hash differs"
                    found.broken(text, file=name, entry=index, session=entry.session)
            except RecordBroken as error:
                found.broken(str(error), file=name, entry=index, session=entry.session)
        found.end(f"{count:,} chunks")

    def _contents(self) -> bool:
        """Whether the frames are in the bundle, and are proven."""
        found = self._report.step("contents")
        if self._bundle.index.secret is None:
            found.skip("the session's secret is not in the bundle: who has it can open the chunks")
            return False
        secret = _secret(self._bundle.index.secret)
        if secret is None:
            found.broken("the session's secret is none", file=INDEX)
            found.end("nothing can be opened")
            return False
        keys = Keys.of(secret)
        count = 0
        for index, entry in self._chunk_entries():
            name = f"frames/{entry.n:06}"
            try:
                _check_plain(self._bundle, entry, keys)
                count += entry.frames
            except RecordBroken as error:
                found.broken(str(error), file=name, entry=index, session=entry.session)
        return found.end(f"{count:,} frames, each as committed to")

    def _derived(self, derive: Derive | None, software: str, opened: bool) -> None:
        """What people read must follow from proven frames: nothing else in the bundle may tell a story."""
        found = self._report.step("statements")
        if self._report.result == "broken" or (opened and derive is None):
            found.skip("not derived again" if derive else "nothing here derives them")
            return
        derived = derive(self._frames()) if derive and opened else {}
        for name in sorted(set(self._bundle.index.files) - self._proven() - set(derived)):
            found.broken("nothing in the bundle proves what it says", file=name)
        differing = []
        for name, data in derived.items():
            if name in self._bundle.names and self._bundle.read(name) == data:
                continue
            differing.append(name)
            if self._bundle.index.software == software:
                found.broken("it is not what the frames say", file=name)
            else:
                text = f"{name} is not as {software} writes it; {self._bundle.index.software} wrote it"
                self._report.remark("statements", f"{text}: it is not proven, only frames/ is")
        if found.problems:
            found.end("not what the frames say")
        elif differing or not derived:
            found.skip(f"not proven: {', '.join(differing)}" if differing else "there are none")
        else:
            found.end(f"{', '.join(derived)}: as derived from the frames")

    def _proven(self) -> set[str]:
        """Members that the steps before have looked at."""
        proven = {*_ABOUT} | {f"entries/{number:06}" for number in range(len(self._bundle.index.entries))}
        for _, entry in self._chunk_entries():
            proven |= {f"chunks/{entry.n:06}"} if not self._erased else set()
            proven |= {f"frames/{entry.n:06}"} if self._bundle.index.secret is not None else set()
        return proven

    def _frames(self) -> Iterator[Frame]:
        session = session_bytes(self._bundle.index.session)
        for _, entry in self._chunk_entries():
            yield from split(session, self._bundle.read(f"frames/{entry.n:06}"))


def _check_plain(bundle: BundleReader, entry: Chunk, keys: Keys) -> None:
    plain = bundle.read(f"frames/{entry.n:06}")
    if keys.commit(plain) != entry.commitment or len(plain) != entry.length:
        raise RecordBroken("its content is not the one committed to")
    if load(bundle.read(f"chunks/{entry.n:06}"), keys) != plain:
        raise RecordBroken("the chunk holds other frames")
    about = outline(plain)
    if (about.sequence, about.position, about.time) != (entry.sequence, entry.position, entry.time):
        raise RecordBroken("its frames are others than the entry says")


def _secret(text: str) -> bytes | None:
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        return None
    return secret if len(secret) == SECRET_BYTES else None
