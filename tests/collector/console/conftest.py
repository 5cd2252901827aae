from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from litestar.testing import TestClient

from collector.console import accounts
from tests.collector.console.world import Caller, World

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "hasher", CHEAP)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with TestClient(world.app, raise_server_exceptions=False) as world.client:
        yield world


@pytest.fixture(scope="module")
def lasting_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One city for many calls that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "hasher", CHEAP)
        world = World(tmp_path_factory.mktemp("city"))
        with TestClient(world.app, raise_server_exceptions=False) as world.client:
            yield world


@pytest.fixture
def sign_in(world: World) -> Callable[[str | None], Caller]:
    """An operator of a role; None is nobody."""
    return lambda role: Caller(world, role)
