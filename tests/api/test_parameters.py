"""A mistyped parameter is an error, not a question without a filter."""

import httpx
import pytest


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/statements?tabel=orders", "there is no parameter 'tabel' here"),
        ("/sessions?bogus=1", "there is no parameter 'bogus' here"),
        ("/index?since=1h", "there is no parameter 'since' here"),
        ("/statements?command=UPDATE&command=DELETE", "command is given twice"),
    ],
)
def test_what_a_route_does_not_have(local: httpx.Client, address: str, said: str) -> None:
    answer = local.get(address)
    assert answer.status_code == 422
    assert answer.json()["message"] == said


def test_what_it_has(local: httpx.Client) -> None:
    assert local.get("/statements?table=orders&limit=5&newest=true").status_code == 200
