"""A token is in no address and in no log: of a real gateway, whoever asks and however wrongly."""

import json

import httpx

from pgwitness._core import TapeReader
from support.gateway import Gateway

ADDRESSES = (
    "/api/v1/sessions?token={}",
    "/api/v1/sessions?access_token={}",
    "/api/v1/tokens/{}",
    "/api/v1/sessions/{}",
    "/api/v1/statements?match={}",
    "/sessions?token={}",
    "/sign-in?token={}",
    "/{}",
)


def test_no_token_in_address_or_log(gateway: Gateway) -> None:
    gateway.run("identity", "add", "auditor", "--kind", "human")
    token = gateway.run("token", "issue", "auditor", "--role", "auditor").stdout.strip()
    secret = token.split("_", 2)[2]
    wrong = token[:-4] + "xxxx"
    with httpx.Client(base_url=gateway.http) as client:
        bearer = {"Authorization": f"Bearer {token}"}
        assert client.get("/api/v1/sessions", headers=bearer).status_code == 200
        forged = bearer | {"X-Forwarded-For": "203.0.113.9"}
        assert client.get("/api/v1/statements", headers=forged).status_code == 200
        for tried in (token, wrong):
            basic = {"Authorization": f"Basic {tried}"}
            assert client.get("/api/v1/sessions", headers=basic).status_code == 401
            for address in ADDRESSES:
                answer = client.get(address.format(tried))
                assert answer.status_code != 200 or answer.url.path == "/sign-in", address
                assert tried not in answer.headers.get("location", "")
        named = client.get("/api/v1/statements", params={"identity": token}, headers=bearer)
        assert named.json()["items"] == []
        assert client.get("/api/v1/sessions", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401
        assert client.post("/sign-in", data={"token": wrong}).status_code == 401
        entered = client.post("/sign-in", data={"token": token})
        assert entered.status_code in (200, 303), entered.text
        cookie = client.cookies["pgwitness_session"]
        for answer in (entered, client.get("/sessions"), client.get("/")):
            assert secret not in answer.text and secret not in str(answer.headers) + str(answer.url)
            assert cookie not in answer.text + str(answer.url)
        assert client.get("/sessions").status_code == 200
    actors = {each["actor"] for each in gateway.jsonl("audit", "--action", "read")}
    assert actors == {f"auditor (token {token.split('_')[1]}) from 127.0.0.1"}, "nobody says where they are"
    gateway.terminate()
    kept = gateway.log + json.dumps(gateway.jsonl("audit")) + json.dumps(gateway.jsonl("events"))
    reader = TapeReader(gateway.state / "tape")
    while frames := reader.read():
        kept += "".join(frame[5].decode("utf-8", "replace") for frame in frames)
    assert "a token that came from 127.0.0.1 was refused" in kept, "the log is looked at"
    for hidden in (secret, wrong, wrong.split("_", 2)[2], cookie):
        assert hidden not in kept
