from collections.abc import Iterator
from pathlib import Path

import pytest

from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}", open_box(None, tmp_path / "secret.key"))
    yield catalog
    catalog.close()
