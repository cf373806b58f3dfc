"""The writer: what a checkpoint covers is there whole, at every moment, whatever fails."""

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgwitness.errors import RecordBroken
from pgwitness.record import merkle
from pgwitness.record.files import Files
from pgwitness.record.layout import Layout, tile_index
from pgwitness.record.log_reader import LogReader
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.verify import verify_record
from support.records import Sealing, make_record


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("index", "name"), [(0, "000"), (7, "007"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")]
)
def test_tile_names_are_those_of_the_specification(index: int, name: str) -> None:
    assert tile_index(index) == name


def test_the_tree_of_70000_has_the_tiles_of_the_specification(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    for number in range(70_000):
        sealing.log.add(b"%d" % number)
    sealing.commit()
    log = sealing.layout.log
    assert len(list((log / "tile" / "0").glob("[0-9]??"))) == 273
    assert len((log / "tile/0/273.p/112").read_bytes()) == 112 * 32
    assert len((log / "tile/1/000").read_bytes()) == 8192
    assert len((log / "tile/1/001.p/17").read_bytes()) == 17 * 32
    assert len((log / "tile/2/000.p/1").read_bytes()) == 32
    leaves = [merkle.leaf_hash(b"%d" % number) for number in range(70_000)]
    whole = merkle.root(
        lambda level, at: merkle.perfect_root(leaves[at << level : (at + 1) << level]), 70_000
    )
    assert sealing.log.checkpoint.root == whole
    reader = LogReader(sealing.layout)
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        assert reader.raw_entry(index) == b"%d" % index
        assert merkle.inclusion_holds(leaves[index], index, 70_000, whole, reader.inclusion_proof(index))


def test_proofs_from_tiles_hold_between_all_sizes(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    roots = {0: merkle.EMPTY_ROOT}
    for number in range(600):
        sealing.log.add(b"%d" % number)
        if number % 37 == 0 or number in (254, 255, 256, 511):
            sealing.commit()
            roots[sealing.log.size] = sealing.log.checkpoint.root
    sealing.commit()
    reader = LogReader(sealing.layout)
    for size, root in roots.items():
        proof = reader.consistency_proof(size)
        assert merkle.consistency_holds(size, root, 600, reader.checkpoint.root, proof)
        assert reader.root(size) == root


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_however_entries_are_committed_the_tiles_are_the_same(batches: list[int], reopened: bool) -> None:
    """Also when the writer starts anew between commits."""
    with tempfile.TemporaryDirectory(prefix="pgw-record-") as directory:
        sealing = Sealing(Path(directory) / "record")
        number = 0
        for batch in batches:
            for _ in range(batch):
                sealing.event("tick", number=number)
                number += 1
            sealing.commit()
            if reopened:
                sealing.close()
                sealing.log = LogWriter(sealing.layout, sealing.signer)
        sealing.close()
        assert verify_record(sealing.layout).problems == []
        reader = LogReader(sealing.layout)
        leaves = [merkle.leaf_hash(data) for _, data in reader.raw_entries()]
        assert len(leaves) == sum(batches)
        for level in range(3):
            for path in (sealing.layout.tiles / str(level)).glob("[0-9]??"):
                first = int(path.name) * 256
                row = [
                    merkle.perfect_root(leaves[at << 8 * level : (at + 1) << 8 * level])
                    for at in range(first, first + 256)
                ]
                assert path.read_bytes() == b"".join(row)


def test_a_checkpoint_without_anything_new_is_a_sign_of_life(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 3)
    before = sealing.log.checkpoint
    sealing.commit()
    after = sealing.log.checkpoint
    assert (after.size, after.root) == (before.size, before.root)
    assert after.time and before.time and after.time > before.time
    assert verify_record(sealing.layout).result == "sound"


def test_partial_tiles_stay_until_the_full_one_is_signed_for(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    for number in range(256):
        sealing.log.add(b"%d" % number)
        if number in (9, 99, 254):
            sealing.commit()
    partial = sealing.layout.tiles / "entries" / "000.p"
    assert sorted(path.name for path in partial.iterdir()) == ["10", "100", "255"]
    sealing.commit()
    assert not partial.exists()
    assert (sealing.layout.tiles / "entries" / "000").exists()


def test_objects_go_into_segments_of_their_size(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record", segment_bytes=1000)
    for size in (400, 400, 400, 3000, 10):
        stored = sealing.log.store(bytes(size))
        assert stored.length == size
    sealing.commit()
    sizes = [path.stat().st_size for path in sorted(sealing.layout.segments.iterdir())]
    assert sizes == [800, 400, 3000, 10]
    assert (sealing.log.checkpoint.segment, sealing.log.checkpoint.offset) == (4, 10)


def test_what_no_checkpoint_covers_is_cut_off(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 12, segment_bytes=20_000)
    covered = tree(tmp_path / "record")
    uncommitted = Sealing(tmp_path / "record", 99, segment_bytes=20_000)
    for _ in range(40):
        uncommitted.session()
    bundles, tiles = uncommitted.log._edge.take()
    for path, data in {**bundles, **tiles}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.with_name(path.name + ".tmp").write_bytes(data)
    (sealing.layout.log / "checkpoint.tmp").write_bytes(b"torn")
    uncommitted.close()
    report = verify_record(sealing.layout)
    assert report.result == "sound"
    assert {remark.about for remark in report.remarks} >= {"beyond"}
    Sealing(tmp_path / "record").close()
    after = tree(tmp_path / "record")
    slots = "keys/sessions/0000000000"
    assert after.pop(slots).startswith(covered.pop(slots))
    assert after == covered
    assert {remark.about for remark in verify_record(sealing.layout).remarks} == {"key"}


class FailingError(OSError):
    """As EIO would be."""


class FailingFiles(Files):
    """Fails at the n-th call that changes anything, and at all after it, as if the process had died."""

    def __init__(self, calls: int, *, torn: bool) -> None:
        self.left = calls
        self.torn = torn

    def _call(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise FailingError("injected")

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        try:
            self._call()
        except FailingError:
            if self.torn and self.left == -1:
                os.pwrite(descriptor, data[: len(data) // 2], offset)
            raise
        super().write(descriptor, data, offset)

    def open(self, path: Path) -> int:
        self._call()
        return super().open(path)

    def truncate(self, descriptor: int, length: int) -> None:
        self._call()
        super().truncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        self._call()
        super().sync(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        self._call()
        super().rename(old, new)

    def remove(self, path: Path) -> None:
        self._call()
        super().remove(path)

    def remove_directory(self, path: Path) -> None:
        self._call()
        super().remove_directory(path)

    def make_directory(self, path: Path) -> None:
        self._call()
        super().make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._call()
        super().sync_directory(path)


def script(directory: Path, files: Files | None, rounds: int = 3) -> None:
    """Work that touches every kind of file: new keys, segments, full and partial tiles, checkpoints."""
    sealing = Sealing(directory, random.Random(files is None).randrange(10**6), files, segment_bytes=3000)
    try:
        for _ in range(rounds):
            for _ in range(22):
                sealing.session(2, 1)
            sealing.commit()
    finally:
        sealing.close()


@pytest.mark.parametrize("torn", [False, True], ids=["refused", "torn"])
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 41], ids=["every", "some"])
def test_a_failure_at_any_call_leaves_a_sound_record_that_goes_on(
    tmp_path: Path, torn: bool, step: int
) -> None:
    counting = FailingFiles(10**9, torn=torn)
    script(tmp_path / "whole", counting)
    calls = 10**9 - counting.left
    assert calls > 300
    for number in range(torn, calls, step):
        directory = tmp_path / f"record-{number}"
        with pytest.raises(FailingError):
            script(directory, FailingFiles(number, torn=torn))
        layout = Layout(directory)
        signed = 0
        if layout.checkpoint.exists():
            report = verify_record(layout)
            assert report.result == "sound", (number, report.problems)
            signed = LogReader(layout).size
        again = Sealing(directory, 1, segment_bytes=3000)
        assert again.log.size == signed
        again.session(2, 1)
        again.commit()
        again.close()
        report = verify_record(layout)
        assert report.result == "sound", (number, report.problems)
        assert not [remark for remark in report.remarks if remark.about == "beyond"]


def test_a_writer_that_failed_is_spent(tmp_path: Path) -> None:
    files = FailingFiles(10**9, torn=False)
    sealing = Sealing(tmp_path / "record", files=files)
    sealing.session()
    sealing.secrets.sync()
    files.left = 0
    with pytest.raises(FailingError):
        sealing.commit()
    files.left = 10**9
    for act in (sealing.commit, lambda: sealing.log.add(b"x"), lambda: sealing.log.store(b"x")):
        with pytest.raises(RecordBroken, match="failed before"):
            act()


def test_a_record_that_lost_something_is_not_gone_on_with(tmp_path: Path) -> None:
    for number, (name, message) in enumerate(
        [
            ("segments/0000000001.chunks", "0 bytes and the checkpoint covers"),
            ("log/tile/0/000.p/50", "is missing"),
            ("log/tile/entries/000.p/50", "is missing"),
            ("keys/signing.key", "lost its signing key"),
            ("verifier", "cannot be read"),
        ]
    ):
        directory = tmp_path / str(number)
        sealing = Sealing(directory)
        for _ in range(10):
            sealing.session(3)
        sealing.commit()
        sealing.close()
        assert (directory / name).exists()
        (directory / name).unlink()
        with pytest.raises(RecordBroken, match=message):
            Sealing(directory)


def test_a_record_is_not_gone_on_with_under_another_key(tmp_path: Path) -> None:
    one, other = make_record(tmp_path / "one", 2), make_record(tmp_path / "other", 2)
    one.layout.signing_key.write_bytes(other.layout.signing_key.read_bytes())
    with pytest.raises(RecordBroken, match="not of one pair"):
        Sealing(tmp_path / "one")
    one.layout.verifier.write_bytes(other.layout.verifier.read_bytes())
    with pytest.raises(RecordBroken, match="not by"):
        Sealing(tmp_path / "one")
    one.layout.signing_key.write_bytes(b"not a key")
    with pytest.raises(RecordBroken, match="no private key"):
        Sealing(tmp_path / "one")


def test_keys_and_secrets_are_the_owners_alone(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 2)
    for path in (sealing.layout.signing_key, *sealing.layout.secrets.iterdir()):
        assert path.stat().st_mode & 0o077 == 0
