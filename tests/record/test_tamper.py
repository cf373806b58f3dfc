"""Whatever is done to a record of 200 sessions shows, and the message names what is broken.

The verifier has the log's public key, as an auditor has; where a tamperer has the signing key himself, a
checkpoint kept elsewhere.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.edge import Edge, unpack
from pgwitness.record.entries import Chunk, Stored, decode
from pgwitness.record.keys import load_signer, read_verifiers
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.merkle import leaf_hash
from pgwitness.record.notes import Signer
from pgwitness.record.report import Report
from pgwitness.record.verify import Options, verify_record
from support.records import change, copy_record, flip, make_record

SESSIONS = 200


@dataclass
class Original:
    layout: Layout
    signer: Signer
    heads: list[bytes]
    """Checkpoints of it, the latest last."""
    objects: list[Stored]
    names: list[str | None]
    """Sessions of the objects."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    directory = tmp_path_factory.mktemp("tamper") / "record"
    sealing = make_record(directory, SESSIONS, chunks=2, segment_bytes=40_000)
    heads = [sealing.log.note]
    sealing.session(2)
    heads.append(sealing.commit())
    sealing.close()
    entries = [entry for _, entry in LogReader(sealing.layout).entries()]
    chunks = [entry for entry in entries if isinstance(entry, Chunk)]
    assert len(list(sealing.layout.segments.iterdir())) > 3
    return Original(
        sealing.layout,
        load_signer(sealing.layout),
        heads,
        [chunk.stored for chunk in chunks],
        [chunk.session for chunk in chunks],
    )


@pytest.fixture
def copy(original: Original, tmp_path: Path) -> Layout:
    return copy_record(original.layout.directory, tmp_path / "copy")


def check(original: Original, layout: Layout, *, heads: bool = False) -> Report:
    known = [(f"head {number}", head) for number, head in enumerate(original.heads)] if heads else []
    return verify_record(layout, Options([original.signer.verifier], known, threads=1))


def broken(report: Report, *words: str) -> None:
    """Something is broken, and each of the words is in one of the messages."""
    assert report.result == "broken"
    said = [f"{each.step} {each.file} {each.entry} {each.session} {each.text}" for each in report.problems]
    assert said
    for word in words:
        assert any(word in line for line in said), (word, said)


def test_the_original_is_sound(original: Original, copy: Layout) -> None:
    assert check(original, original.layout, heads=True).result == "sound"
    report = check(original, copy, heads=True)
    assert (report.result, report.problems) == ("sound", [])
    assert report.numbers["sessions"] == SESSIONS + 1


# --- every byte -----------------------------------------------------------------------------------------


def flips(layout: Layout, count: int, seed: int) -> Iterator[tuple[str, Path, int, int]]:
    """(kind, file, offset, bit): as many of each kind, so that the small ones are not left out."""
    choose = random.Random(seed)
    files = {
        "chunk": sorted(layout.segments.iterdir()),
        "entry": [path for path in sorted((layout.tiles / "entries").rglob("*")) if path.is_file()],
        "tile": [
            path for path in sorted(layout.tiles.rglob("*")) if path.is_file() and "entries" not in path.parts
        ],
        "checkpoint": [layout.checkpoint],
    }
    starts = [*session_starts(layout)]
    for number in range(count):
        kind = ("chunk", "entry", "tile", "checkpoint", "session")[number % 5]
        if kind == "session":
            path, first, length = choose.choice(starts)
            offset = first + choose.randrange(length)
        else:
            path = choose.choice(files[kind])
            offset = choose.randrange(path.stat().st_size)
        yield kind, path, offset, choose.randrange(8)


def session_starts(layout: Layout) -> Iterator[tuple[Path, int, int]]:
    """Where in the bundles the headers of sessions are."""
    for path in sorted((layout.tiles / "entries").glob("[0-9]??")):
        at = 0
        for entry in unpack(path.read_bytes()):
            if entry.startswith(b'{"type":"session"'):
                yield path, at + 2, len(entry)
            at += 2 + len(entry)


def names_it(report: Report, original: Original, layout: Layout, path: Path, offset: int) -> bool:
    """Whether a problem names the file, and for a chunk the session whose it is."""
    name = str(path.relative_to(layout.directory))
    found = [problem for problem in report.problems if problem.file and name.startswith(problem.file)]
    if not name.startswith("segments/"):
        return bool(found)
    number = int(path.stem)
    for stored, session in zip(original.objects, original.names, strict=True):
        if stored.segment == number and stored.offset <= offset < stored.offset + stored.length:
            return any(problem.session == session for problem in found)
    return False


@pytest.mark.parametrize(
    ("count", "seed"),
    [(400, 0), *(pytest.param(2500, seed, marks=pytest.mark.slow) for seed in range(1, 9))],
)
@pytest.mark.timeout(900)
def test_every_flipped_bit_is_found_and_named(
    original: Original, copy: Layout, count: int, seed: int
) -> None:
    for kind, path, offset, bit in flips(copy, count, seed):
        flip(path, offset, bit)
        report = check(original, copy)
        where = (kind, path, offset, bit, report.problems)
        assert report.result == "broken", where
        assert names_it(report, original, copy, path, offset), where
        flip(path, offset, bit)
    assert check(original, copy).result == "sound"


def test_every_file_missing_cut_off_or_grown_is_found_and_named(original: Original, copy: Layout) -> None:
    files = [path for path in sorted(copy.directory.rglob("*")) if path.is_file()]
    last = copy.segment(len(list(copy.segments.iterdir())))
    for path in files:
        whole = path.read_bytes()
        name = str(path.relative_to(copy.directory))
        partial = path.parent.suffix == ".p"
        for what, data in (("missing", None), ("cut off", whole[:-1]), ("grown", whole + b"\0")):
            if data is None:
                path.unlink()
            else:
                path.write_bytes(data)
            report = check(original, copy)
            # Partial tiles of older checkpoints may be removed at any time, what grows behind the last
            # checkpoint is no part of the record yet, the key that counts is the auditor's.
            harmless = (
                (what == "missing" and partial and _older(copy, path))
                or (what == "grown" and path == last)
                or (what != "grown" and name == "verifier")
            )
            assert report.result == ("sound" if harmless else "broken"), (name, what, report.problems)
            if not harmless:
                assert any(problem.file and name.startswith(problem.file) for problem in report.problems), (
                    name
                )
            path.write_bytes(whole)


def test_a_directory_where_a_file_was_is_named(original: Original, copy: Layout) -> None:
    names = ["log/checkpoint", "log/tile/0/000", "log/tile/entries/001", "segments/0000000002.chunks"]
    names += [str(path.relative_to(copy.directory)) for path in sorted(copy.tiles.glob("*/*.p/*"))[:2]]
    for name in names:
        aside = copy.directory / "aside"
        (copy.directory / name).rename(aside)
        (copy.directory / name).mkdir()
        broken(check(original, copy), name)
        (copy.directory / name).rmdir()
        aside.rename(copy.directory / name)


def test_files_that_are_none_of_the_format_harm_nothing(original: Original, copy: Layout) -> None:
    for name in (
        "segments/notes.chunks",
        "log/tile/0/.DS_Store",
        "log/tile/README",
        "log/tile/x/000",
        "README",
    ):
        (copy.directory / name).parent.mkdir(exist_ok=True)
        (copy.directory / name).write_text("x")
    assert check(original, copy).problems == []


def _older(layout: Layout, partial: Path) -> bool:
    checkpoint, _ = parse_checkpoint(layout.checkpoint.read_bytes())
    level = partial.relative_to(layout.tiles).parts[0]
    size = checkpoint.size if level == "entries" else checkpoint.size >> 8 * int(level)
    return int(partial.name) != size % 256


# --- by who can write the files, and has no key ---------------------------------------------------------


def test_a_chunk_taken_out(original: Original, copy: Layout) -> None:
    stored, session = original.objects[50], original.names[50]
    path = copy.segment(stored.segment)
    change(path, lambda data: data[: stored.offset] + data[stored.offset + stored.length :])
    broken(check(original, copy), f"segments/{path.name}", str(session), "its bytes are not those")


def test_two_chunks_swapped(original: Original, copy: Layout) -> None:
    one, other = original.objects[10], original.objects[11]
    data = copy.segment(one.segment).read_bytes()
    first = data[one.offset : one.offset + one.length]
    second = data[other.offset : other.offset + other.length]
    copy.segment(one.segment).write_bytes(
        data[: one.offset] + second + first + data[other.offset + other.length :]
    )
    broken(check(original, copy), str(original.names[10]), str(original.names[11]))


def test_a_chunk_of_another_session_spliced_in(original: Original, copy: Layout) -> None:
    one = original.objects[10]
    other = next(
        stored
        for stored, session in zip(original.objects[12:], original.names[12:], strict=True)
        if session != original.names[10] and stored.segment == one.segment
    )
    data = bytearray(copy.segment(one.segment).read_bytes())
    data[one.offset : one.offset + one.length] = data[other.offset : other.offset + other.length]
    copy.segment(one.segment).write_bytes(data)
    broken(check(original, copy), str(original.names[10]), "its bytes are not those that were sealed")


def test_a_segment_gone_and_segments_swapped(original: Original, copy: Layout) -> None:
    first, second = copy.segment(1), copy.segment(2)
    aside = copy.directory / "aside"
    first.rename(aside)
    broken(check(original, copy), "segments/0000000001.chunks", "is missing")
    second.rename(first)
    aside.rename(second)
    broken(check(original, copy), "segments/0000000001.chunks", "segments/0000000002.chunks")


def test_tiles_swapped(original: Original, copy: Layout) -> None:
    for name in ("0", "entries"):
        one, other = copy.tiles / name / "000", copy.tiles / name / "001"
        aside = copy.directory / "aside"
        one.rename(aside)
        other.rename(one)
        aside.rename(other)
        words = [f"tree log/tile/{name}/000", f"tree log/tile/{name}/001"]
        broken(check(original, copy), *words)
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


def rebuild(layout: Layout, entries: list[bytes], sign: Callable[[Checkpoint], bytes] | None) -> None:
    """All of the log again, from these entries. Without ``sign``, the checkpoint stays."""
    old, _ = parse_checkpoint(layout.checkpoint.read_bytes())
    shutil.rmtree(layout.tiles)
    edge = Edge(layout, 0, [], [])
    for entry in entries:
        edge.add(entry)
    bundles, tiles = edge.take()
    for path, data in {**bundles, **tiles}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if sign:
        checkpoint = Checkpoint(
            old.origin, edge.size, edge.root(), old.time, old.tape, old.segment, old.offset
        )
        layout.checkpoint.write_bytes(sign(checkpoint))


def entries_of(layout: Layout) -> list[bytes]:
    return [data for _, data in LogReader(layout).raw_entries()]


def edited(data: bytes, **values: Any) -> bytes:
    return json.dumps({**json.loads(data), **values}, separators=(",", ":")).encode()


def place(entries: list[bytes], kind: str, skip: int = 5) -> int:
    found = [at for at, data in enumerate(entries) if data.startswith(f'{{"type":"{kind}"'.encode())]
    return found[skip]


Change = Callable[[list[bytes]], list[bytes]]


def _without(at: int, entries: list[bytes]) -> list[bytes]:
    return entries[:at] + entries[at + 1 :]


def _doubled(at: int, entries: list[bytes]) -> list[bytes]:
    return [*entries[:at], entries[at], *entries[at:]]


def _swapped(at: int, entries: list[bytes]) -> list[bytes]:
    return [*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]]


def _edit(kind: str, **values: Any) -> Change:
    def make(entries: list[bytes]) -> list[bytes]:
        at = place(entries, kind)
        return [*entries[:at], edited(entries[at], **values), *entries[at + 1 :]]

    return make


CHANGES: dict[str, Change] = {
    "a chunk's entry removed": lambda entries: _without(place(entries, "chunk"), entries),
    "a session's start removed": lambda entries: _without(place(entries, "session"), entries),
    "a session's end removed, and a chunk": lambda entries: _without(
        place(entries, "end") - 1, _without(place(entries, "end"), entries)
    ),
    "an entry doubled": lambda entries: _doubled(place(entries, "chunk"), entries),
    "two entries of a session swapped": lambda entries: _swapped(place(entries, "chunk", 4), entries),
    "a chunk renumbered": _edit("chunk", n=7),
    "a chunk of other sequences": _edit("chunk", sequence=[900, 906]),
    "a chunk of fewer frames": _edit("chunk", frames=1),
    "a chunk with another hash": _edit("chunk", previous="0" * 64),
    "another place in the segments": _edit(
        "chunk", stored={"segment": 1, "offset": 0, "length": 9, "sha256": "0" * 64}
    ),
    "an end that counts otherwise": _edit("end", chunks=1),
    "an entry of a later version": _edit("chunk", v=2),
    "an unknown entry": _edit("chunk", type="chonk"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_entries_changed_and_the_tree_made_again(original: Original, copy: Layout, name: str) -> None:
    rebuild(copy, CHANGES[name](entries_of(copy)), None)
    broken(check(original, copy), "tree")


@pytest.mark.parametrize("name", CHANGES)
def test_who_signs_such_a_log_himself_is_found_by_the_chains(
    original: Original, copy: Layout, name: str
) -> None:
    rebuild(copy, CHANGES[name](entries_of(copy)), lambda checkpoint: checkpoint.sign(original.signer))
    report = check(original, copy)
    assert report.result == "broken"
    assert not [problem for problem in report.problems if problem.step in ("tree", "checkpoint")]
    assert [problem for problem in report.problems if problem.entry is not None or problem.file]
    broken(check(original, copy, heads=True), "heads", "the log was")


def test_an_identity_changed_by_who_can_sign_is_found_by_heads_and_by_contents(
    original: Original, tmp_path: Path
) -> None:
    copy = copy_record(original.layout.directory, tmp_path / "copy", keys=True)
    rebuild(
        copy,
        _relinked(_edit("session", identity="somebody-else")(entries_of(copy))),
        lambda checkpoint: checkpoint.sign(original.signer),
    )
    broken(check(original, copy), "contents", "another identity")
    broken(check(original, copy, heads=True), "heads", "the log was rewritten")


def _relinked(entries: list[bytes]) -> list[bytes]:
    """With the hashes of the chains made again: a tamperer who thinks of everything."""
    last: dict[str, str] = {}
    made = []
    for data in entries:
        document = json.loads(data)
        session = document.get("session")
        if session in last:
            data = edited(data, previous=last[session])
        if session:
            last[session] = leaf_hash(data).hex()
        made.append(data)
    return made


# --- a session gone without a trace, the end cut off, the whole forged --------------------------------


def without_session(layout: Layout) -> list[bytes]:
    entries = entries_of(layout)
    session = json.loads(entries[place(entries, "session", 70)])["session"]
    return [data for data in entries if json.loads(data).get("session") != session]


def test_a_session_deleted_with_all_that_belongs_to_it(original: Original, copy: Layout) -> None:
    """Its entries and its chunks are gone, all others moved up, every offset and every hash right again."""
    kept = without_session(copy)
    _repack(original.layout, copy, kept)
    broken(check(original, copy), "tree", "signed")
    broken(check(original, copy, heads=True), "heads", "the log was rewritten")


def test_a_session_deleted_by_who_can_sign_is_found_by_a_head(original: Original, copy: Layout) -> None:
    kept = without_session(copy)
    _repack(original.layout, copy, kept, lambda checkpoint: checkpoint.sign(original.signer))
    assert check(original, copy).result == "sound", "nothing inside tells: this is what heads are for"
    broken(check(original, copy, heads=True), "the log was cut off", "head 1")


def _repack(
    source: Layout, target: Layout, entries: list[bytes], sign: Callable[[Checkpoint], bytes] | None = None
) -> None:
    """The objects of these entries alone, packed anew."""
    reader = LogReader(source)
    made, segment, data = [], 1, b""
    shutil.rmtree(target.segments)
    target.segments.mkdir()
    for entry in entries:
        document = json.loads(entry)
        if document["type"] == "chunk":
            held = reader.object(Stored(**document["stored"]))
            document["stored"] = {**document["stored"], "segment": segment, "offset": len(data)}
            data += held
            entry = json.dumps(document, separators=(",", ":")).encode()
        made.append(entry)
    target.segment(segment).write_bytes(data)

    def moved(checkpoint: Checkpoint) -> bytes:
        assert sign
        return sign(
            Checkpoint(
                checkpoint.origin, checkpoint.size, checkpoint.root, checkpoint.time, 9, segment, len(data)
            )
        )

    rebuild(target, _relinked(made), moved if sign else None)


def test_the_end_cut_off_while_a_later_head_is_known(original: Original, copy: Layout) -> None:
    earlier, _ = parse_checkpoint(original.heads[0])
    entries = entries_of(copy)[: earlier.size]
    rebuild(copy, entries, None)
    copy.checkpoint.write_bytes(original.heads[0])
    for path in copy.segments.iterdir():
        if int(path.stem) > earlier.segment:
            path.unlink()
    change(copy.segment(earlier.segment), lambda data: data[: earlier.offset])
    assert check(original, copy).result == "sound", "an older record is a sound record"
    report = check(original, copy, heads=True)
    broken(report, "heads", "head 1", "the log was cut off")
    assert [problem.file for problem in report.problems] == ["head 1"]


def test_the_whole_signed_with_another_key(original: Original, copy: Layout) -> None:
    forger = Signer(original.signer.name, Ed25519PrivateKey.generate())
    rebuild(copy, without_session(copy), lambda checkpoint: checkpoint.sign(forger))
    copy.verifier.write_text(f"{forger.verifier}\n")
    report = check(original, copy)
    broken(report, "checkpoint log/checkpoint", "it is signed by", "verifier")
    # Without a key from elsewhere, a head from elsewhere.
    report = verify_record(copy, Options((), [("witness", original.heads[-1])]))
    broken(report, "heads witness", "cannot be relied on")


def test_a_checkpoint_of_another_log(original: Original, copy: Layout, tmp_path: Path) -> None:
    other = make_record(tmp_path / "other", 2)
    copy.checkpoint.write_bytes(other.log.note)
    broken(check(original, copy), "checkpoint", "it is of the log pgwitness/")
    copy.verifier.write_bytes(other.layout.verifier.read_bytes())
    report = verify_record(copy, Options(read_verifiers(other.layout.verifier)))
    broken(report, "tree")
    head = ("elsewhere", other.log.note)
    report = verify_record(original.layout, Options([original.signer.verifier], [head]))
    broken(report, "elsewhere", "it is of the log")


def test_a_secret_destroyed_without_a_word(original: Original, tmp_path: Path) -> None:
    copy = copy_record(original.layout.directory, tmp_path / "copy", keys=True)
    change(copy.secrets / "0000000000", lambda data: data[:640] + bytes(64) + data[704:])
    broken(check(original, copy), "keys/sessions/0000000000", "no erasure was recorded")


def test_all_secrets_destroyed_without_a_word(original: Original, tmp_path: Path) -> None:
    copy = copy_record(original.layout.directory, tmp_path / "copy", keys=True)
    shutil.rmtree(copy.secrets)
    broken(check(original, copy), "keys/sessions/0000000000", "no erasure was recorded")


def test_an_entry_that_is_not_json_names_its_place(original: Original, copy: Layout) -> None:
    entries = entries_of(copy)
    at = place(entries, "chunk")
    entries[at] = b"\xff" * len(entries[at])
    rebuild(copy, entries, lambda checkpoint: checkpoint.sign(original.signer))
    broken(check(original, copy), f"chains None {at} None it is no entry")
    assert decode(entries_of(copy)[at + 1])
