"""A set-up collector, a running gateway, and PCs whose sockets are closed at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.collector.gateway.pc import PC, City, Running, running


@pytest.fixture(scope="session", autouse=True)
def client_context() -> Iterator[None]:
    yield
    zmq.Context.instance().destroy(linger=0)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> City:
    return City(tmp_path_factory.mktemp("city") / "c")


@pytest.fixture
def city(template: City, tmp_path: Path) -> City:
    return template.copy(tmp_path / "c")


@pytest.fixture
def gateway(city: City) -> Iterator[Running]:
    with running(city) as gateway:
        yield gateway


@pytest.fixture
def new_pc(city: City) -> Iterator[Callable[..., PC]]:
    """Make a PC the register knows (``status``), without connecting it."""
    made: list[PC] = []

    def make(hostname: str = "pc", status: str = "active", machine_id: str = "") -> PC:
        pc = PC(city, hostname, machine_id)
        made.append(pc)
        if status:
            city.known(pc, status)
        return pc

    yield make
    for pc in made:
        pc.close()
