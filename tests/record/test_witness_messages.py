"""The words of c2sp.org/tlog-witness, with the examples of the specification."""

import pytest

from pgwitness.errors import RecordBroken
from pgwitness.record.notes import parse_note
from pgwitness.record.witness import (
    add_checkpoint,
    cosignature_holds,
    parse_witness_key,
    read_answer,
    read_size,
)
from support.trees import Log, WitnessKey

NOTE = Log().grow(5).head()


def test_the_request() -> None:
    log = Log().grow(5)
    body = add_checkpoint(3, log.proof(3), NOTE).decode()
    first, *hashes = body.partition("\n\n")[0].split("\n")
    assert first == "old 3" and len(hashes) == len(log.proof(3)) == 4
    assert body.partition("\n\n")[2].encode() == NOTE
    assert add_checkpoint(0, [], NOTE) == b"old 0\n\n" + NOTE
    with pytest.raises(ValueError, match="63"):
        add_checkpoint(3, [bytes(32)] * 64, NOTE)


def test_known_cosignatures_are_taken_and_others_ignored() -> None:
    ours, other = WitnessKey(), WitnessKey("witness.example/w2", b"other")
    answer = (other.cosign(NOTE, 7) + ours.cosign(NOTE, 8)).encode()
    assert read_answer(answer, NOTE, [ours.verifier]) == [ours.cosign(NOTE, 8).strip()]
    with pytest.raises(RecordBroken, match=r"no cosignature of witness\.example/w1"):
        read_answer(other.cosign(NOTE, 7).encode(), NOTE, [ours.verifier])


def test_a_cosignature_of_something_else_is_refused() -> None:
    ours = WitnessKey()
    for line in (ours.cosign(Log().grow(6).head(), 8), ours.cosign(NOTE, 8).replace("AAAA", "AAAB")):
        with pytest.raises(RecordBroken):
            read_answer(line.encode(), NOTE, [ours.verifier])
    with pytest.raises(RecordBroken):
        read_answer(b"thank you\n", NOTE, [ours.verifier])


def test_the_example_of_the_cosignature_specification_has_its_form() -> None:
    """Its keys are not published; name, stamp and length are."""
    log = "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
    witness = (
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+"
        "mbIUBkBIfZ+qnA=="
    )
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        f"— example.com/behind-the-sofa {log}\n"
        f"— witness.example.com/w1 {witness}\n"
    )
    signature = parse_note(example.encode()).signatures[1]
    assert int.from_bytes(signature.signature[:8], "big") == 1679315147
    assert len(signature.signature) == 72
    assert not cosignature_holds(WitnessKey().verifier, "text\n", signature)


def test_only_a_key_of_a_witness_is_one() -> None:
    assert parse_witness_key(str(WitnessKey().verifier)) == WitnessKey().verifier
    with pytest.raises(RecordBroken, match="not one of a witness"):
        parse_witness_key(Log().verifier)


def test_the_size_in_a_conflict() -> None:
    assert read_size(b"20852014\n") == 20852014 and read_size(b"0\n") == 0
    for wrong in (b"", b"\n", b"-1\n", b"007\n", b"seven\n", "٣\n".encode(), b"1" * 30):
        with pytest.raises(RecordBroken):
            read_size(wrong)
