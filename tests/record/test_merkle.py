"""The tree and its proofs against pymerkle, against Go's tlog (committed vectors) and against every
change."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from pgwitness.record import merkle

SAMPLES = Path(__file__).parent / "samples"
VECTORS = json.loads((SAMPLES / "tlog-vectors.json").read_text())
LEAVES = [merkle.leaf_hash(b"leaf %d" % number) for number in range(520)]


def subtrees(level: int, index: int) -> bytes:
    return merkle.perfect_root(LEAVES[index << level : (index + 1) << level])


def as_bytes(proof: list[str]) -> list[bytes]:
    return [bytes.fromhex(hashed) for hashed in proof]


@pytest.mark.parametrize("tree", VECTORS["trees"], ids=lambda tree: str(tree["size"]))
def test_roots_and_proofs_are_those_of_go(tree: dict) -> None:
    size, root = tree["size"], bytes.fromhex(tree["root"])
    assert merkle.root(subtrees, size) == root
    for index, proof in tree["inclusion"].items():
        assert merkle.inclusion_proof(subtrees, int(index), size) == as_bytes(proof)
        assert merkle.inclusion_holds(LEAVES[int(index)], int(index), size, root, as_bytes(proof))
    for old, proof in tree["consistency"].items():
        assert merkle.consistency_proof(subtrees, int(old), size) == as_bytes(proof)
        old_root = merkle.root(subtrees, int(old))
        assert merkle.consistency_holds(int(old), old_root, size, root, as_bytes(proof))


def test_roots_and_audit_paths_are_those_of_pymerkle() -> None:
    other = InmemoryTree(algorithm="sha256")
    for number in range(140):
        other.append_entry(b"leaf %d" % number)
    for size in range(1, 141):
        assert merkle.root(subtrees, size) == other.get_root(size)
    for size in (1, 2, 3, 7, 8, 100, 140):
        for index in range(0, size, 3):
            path = as_bytes(other.prove_inclusion(index + 1, size).serialize()["path"])
            path.remove(LEAVES[index])  # pymerkle has the leaf itself in its path
            assert merkle.inclusion_proof(subtrees, index, size) == path


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_proof_holds_for_its_leaf_and_for_no_other(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 520))
    index = data.draw(st.integers(0, size - 1))
    root = merkle.root(subtrees, size)
    proof = merkle.inclusion_proof(subtrees, index, size)
    assert merkle.inclusion_holds(LEAVES[index], index, size, root, proof)
    other = data.draw(st.integers(0, 519).filter(lambda number: number != index))
    assert not merkle.inclusion_holds(LEAVES[other], index, size, root, proof)
    assert not merkle.inclusion_holds(LEAVES[index], other, size, root, proof)
    assert not merkle.inclusion_holds(LEAVES[index], index, size, root, [*proof, root])
    assert not proof or not merkle.inclusion_holds(LEAVES[index], index, size, root, proof[:-1])
    assert not merkle.inclusion_holds(LEAVES[index], index, size, changed(root, 3), proof)
    for at in range(len(proof)):
        bent = [*proof[:at], changed(proof[at], data.draw(st.integers(0, 255))), *proof[at + 1 :]]
        assert not merkle.inclusion_holds(LEAVES[index], index, size, root, bent)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_consistency_proof_holds_for_its_trees_and_for_no_others(data: st.DataObject) -> None:
    new = data.draw(st.integers(0, 520))
    old = data.draw(st.integers(0, new))
    new_root, old_root = merkle.root(subtrees, new), merkle.root(subtrees, old)
    proof = merkle.consistency_proof(subtrees, old, new)
    assert merkle.consistency_holds(old, old_root, new, new_root, proof)
    assert not merkle.consistency_holds(old, changed(old_root, 7), new, new_root, proof)
    assert not merkle.consistency_holds(old, old_root, new, new_root, [*proof, new_root])
    if old:
        assert not merkle.consistency_holds(old, old_root, new, changed(new_root, 9), proof)
    if proof:
        assert not merkle.consistency_holds(old, old_root, new, new_root, proof[:-1])
        assert not merkle.consistency_holds(old + 1, old_root, new, new_root, proof)
    for at in range(len(proof)):
        bent = [*proof[:at], changed(proof[at], 0), *proof[at + 1 :]]
        assert not merkle.consistency_holds(old, old_root, new, new_root, bent)


def test_what_cannot_be_proven() -> None:
    with pytest.raises(ValueError, match="has no leaf 5"):
        merkle.inclusion_proof(subtrees, 5, 5)
    with pytest.raises(ValueError, match="extends none of 6"):
        merkle.consistency_proof(subtrees, 6, 5)
    assert not merkle.consistency_holds(6, LEAVES[0], 5, LEAVES[0], [])
    assert merkle.root(subtrees, 0) == merkle.EMPTY_ROOT


def changed(hashed: bytes, bit: int) -> bytes:
    number = int.from_bytes(hashed, "big") ^ 1 << bit
    return number.to_bytes(32, "big")
