import json
import pickle
import stat
import threading
from pathlib import Path

import pytest

from pgwitness.catalog.models import Secret
from pgwitness.catalog.secrets import SecretBox, open_box
from pgwitness.errors import InvalidError, UnavailableError

KEY = Secret("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")


def test_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter2")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>8}",
        f"{secret!r}",
        repr([secret]),
        f"{secret}",
    ]
    assert all("hunter2" not in text and "***" in text for text in shown)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2"


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_round_trip_hides_the_text() -> None:
    box = SecretBox(KEY)
    ciphertext = box.encrypt(Secret("pässword"))
    assert "pässword" not in ciphertext
    assert ciphertext != box.encrypt(Secret("pässword"))
    assert box.decrypt(ciphertext) == "pässword"


def test_another_key_is_explained() -> None:
    other = SecretBox(Secret("A" * 43 + "="))
    with pytest.raises(UnavailableError, match="another secret key"):
        other.decrypt(SecretBox(KEY).encrypt(Secret("x")))


@pytest.mark.parametrize("text", ["", "short", "é" * 40, "A" * 42, "!" * 44])
def test_a_bad_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidError) as raised:
        SecretBox(Secret(text))
    assert not text or text not in str(raised.value)


def test_key_file_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    boxes: list[SecretBox] = []
    threads = [threading.Thread(target=lambda: boxes.append(open_box(None, path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len({box.salt("x") for box in boxes}) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_key_file_open_to_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.write_text(KEY.reveal())
    path.chmod(0o644)
    with pytest.raises(InvalidError, match="every user") as raised:
        open_box(None, path)
    assert raised.value.hint == f"chmod 600 {path}"


def test_missing_directory_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot use the secret key"):
        open_box(None, tmp_path / "none" / "secret.key")


def test_salts_differ_by_name_and_by_key_and_stay() -> None:
    box = SecretBox(KEY)
    assert box.salt("a") == SecretBox(KEY).salt("a") != box.salt("b")
    assert box.salt("a") != SecretBox(Secret("A" * 43 + "=")).salt("a")
    assert len(box.salt("a")) == 16
