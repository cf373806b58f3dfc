"""An evidence bundle of a real session, through the commands: exported, verified, changed, caught."""

import json
from pathlib import Path

from support.live import Live
from support.records import flip


def test_a_bundle_is_exported_verified_and_a_change_in_it_caught(live15: Live, tmp_path: Path) -> None:
    with live15.connect() as connection:
        connection.execute("SELECT %s::text", ("evidence",))
    session = live15.record()[0]["session"]
    file, key = tmp_path / "evidence.zip", tmp_path / "verifier"
    live15.gateway.run("session", "export", session, "--format", "bundle", "-o", str(file))
    key.write_bytes((live15.gateway.state / "record" / "verifier").read_bytes())

    def verify() -> "tuple[int, dict[str, object]]":
        arguments = ("verify", "--bundle", str(file), "--key", str(key), "--format", "json")
        done = live15.gateway.run(*arguments, check=False)
        assert done.returncode in (0, 1), done.stderr
        return done.returncode, json.loads(done.stdout)

    code, report = verify()
    assert (code, report["result"], report["session"]) == (0, "sound", session), report
    data = file.read_bytes()
    flip(file, data.index(b"chunks/000001") + len("chunks/000001") + 60)
    code, report = verify()
    assert (code, report["result"]) == (1, "broken")
