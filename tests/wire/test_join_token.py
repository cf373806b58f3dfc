import pytest

from pgwitness.wire.join_token import hash_of, new_join_token, parse_join_token, pin_of

PIN = pin_of(b"certificate")


def test_a_token_comes_back_as_it_was_made() -> None:
    token = new_join_token(PIN)
    assert parse_join_token(f" {token.text}\n") == token
    assert token.secret not in repr(token) and token.id in repr(token)
    assert new_join_token(PIN) != token


@pytest.mark.parametrize("damage", ["", "pgwj_", "truncated", "longer", "other kind", "spliced", "high"])
def test_anything_else_is_none(damage: str) -> None:
    token = new_join_token(PIN).text
    texts = {
        "truncated": token[:-1],
        "longer": token + "a",
        "other kind": token.replace("pgwj_", "pgw_"),
        "spliced": f"{token}\n{token}",
        "high": token[:-1] + "é",
    }
    assert parse_join_token(texts.get(damage, damage)) is None


def test_any_text_has_a_hash() -> None:
    assert hash_of("\ud800") != hash_of("")
