from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from collector.registers.store import Store, migrate, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    migrate(tmp_path / "control.db")
    opened = open_store(tmp_path / "control.db")
    yield opened
    opened.close()


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    with store.write() as opened:
        yield opened
