"""The recorded session that testimonies are compared with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.index.store import IndexReader
from support import tapes
from support.claims import STORY, talk_of


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IndexReader]:
    state: Path = tmp_path_factory.mktemp("claims")
    tapes.record(state, talk_of(STORY).ended())
    reader = tapes.index(state)
    yield reader
    reader.close()
