"""The supervisor as a process: children, restarts, orderly and disorderly ends."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from collector.config import read_config, write_config
from collector.runtime import REFUSED_EXIT
from tests.collector.gateway.pc import City, eventually, findings, free_ports

START_S = 60.0


class Service:
    """``sekisho-collector run`` over a data directory."""

    def __init__(self, city: City, env: dict[str, str]) -> None:
        self.city = city
        code = "from collector.cli import main; main()"
        argv = [sys.executable, "-c", code, "run", "--data", str(city.layout.data)]
        self.process = subprocess.Popen(argv, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True)

    def state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.city.layout.run / "supervisor.json").read_text())
            if found["pid"] == self.process.pid:
                return found
        return {}

    def pids(self) -> dict[str, int]:
        return {name: child["pid"] for name, child in self.state().get("children", {}).items()}

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def city(tmp_path: Path) -> City:
    city = City(tmp_path / "c")
    write_config(city.layout, replace(read_config(city.layout), api_port=free_ports()["data"]))
    return city


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd would listen (sd_notify)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(tmp_path / "notify"))
        inbox.settimeout(START_S)
        yield inbox


@pytest.fixture
def service(city: City, notices: socket.socket) -> Iterator[Service]:
    service = Service(city, {"NOTIFY_SOCKET": notices.getsockname()})
    try:
        while notices.recv(100) != b"READY=1":
            pass
        yield service
    finally:
        service.end()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_dead_child_is_started_again_and_reported_and_sigterm_ends_all(
    city: City, service: Service
) -> None:
    before = service.pids()
    assert all(map(alive, before.values()))
    os.kill(before["gateway"], signal.SIGKILL)
    after = eventually(
        lambda: now if (now := service.pids())["gateway"] not in (0, before["gateway"]) else None, START_S
    )
    assert (after["detector"], after["api"]) == (before["detector"], before["api"])
    assert service.state()["children"]["gateway"]["restarts"] == 1
    (finding,) = eventually(lambda: findings(city, "child_restarted"))
    assert finding.detail == {"process": "gateway", "how": "SIGKILL", "restarts": 1}
    service.process.terminate()
    assert service.process.wait(20) == 0
    assert not any(map(alive, [*before.values(), *after.values()]))


@pytest.mark.slow
def test_kill_minus_nine_of_the_supervisor_leaves_no_orphan(service: Service) -> None:
    pids = service.pids().values()
    service.process.kill()
    eventually(lambda: not any(map(alive, pids)))


@pytest.mark.slow
def test_a_second_one_on_the_same_data_is_refused(city: City, service: Service) -> None:
    second = Service(city, {})
    assert second.process.wait(START_S) == 1
    assert second.process.stderr is not None
    assert "already_there" in second.process.stderr.read()
    second.end()
    assert all(map(alive, service.pids().values()))


@pytest.mark.slow
def test_a_port_in_use_ends_the_service_with_the_reason(city: City) -> None:
    port = city.trust.control_port
    with socket.create_server(("127.0.0.1", port)):
        service = Service(city, {})
        assert service.process.wait(START_S) == REFUSED_EXIT
        assert service.process.stderr is not None
        said = service.process.stderr.read()
        assert f"port {port} of 127.0.0.1 is in use" in said
        assert "killing" not in said
        service.end()
