"""Listening sockets of real programs in a network namespace; the baseline on disk."""

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform import Platform
from agent.platform.linux.listeners import parse_listener
from agent.sensors.services import AGAIN_US, ServicesSensor
from protocol.events import ServiceListening
from tests.netns import Lan, lan

pytestmark = pytest.mark.needs("linux")


@pytest.fixture
def net() -> Iterator[Lan]:
    with lan("pc") as one:
        yield one


def listen(kind: int, address: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in address:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind((address, port))
    if kind == socket.SOCK_STREAM:
        one.listen()
    return one


def brief(events: Any) -> list[tuple[str, str, int, bool]]:
    found = []
    for event in events:
        assert isinstance(event, ServiceListening)
        assert event.pid
        assert "python" in event.exe
        found.append((event.protocol, event.address, event.port, event.known))
    return sorted(found)


@pytest.mark.needs("root", "netns")
def test_first_look_is_known_later_ones_are_not(net: Lan, tmp_path: Path) -> None:
    def body() -> list[list[tuple[str, str, int, bool]]]:
        there = [listen(socket.SOCK_STREAM, "0.0.0.0", 8022)]
        platform = Platform(state=tmp_path, run=tmp_path)
        sensor = ServicesSensor(platform)
        told = [brief(sensor.open())]
        there += [
            listen(socket.SOCK_STREAM, "::", 8080),
            listen(socket.SOCK_DGRAM, "0.0.0.0", 5353),
            listen(socket.SOCK_STREAM, "127.0.0.1", 8081),  # this PC only
            listen(socket.SOCK_STREAM, "::1", 8082),
            listen(socket.SOCK_DGRAM, "0.0.0.0", 50000),  # a client that has not spoken yet
        ]
        told += [brief(sensor.tick()), brief(sensor.tick())]
        sensor.close()
        again = ServicesSensor(platform)
        told.append(brief(again.open()))
        for one in there:
            one.close()
        told.append(brief(again.tick()))
        again.close()
        return told

    first, new, same, restarted, gone = net.run("pc", body)
    assert first == [("tcp", "0.0.0.0", 8022, True)]
    assert new == [("tcp", "::", 8080, False), ("udp", "0.0.0.0", 5353, False)]
    assert same == gone == []
    assert restarted == sorted([*first, *new])
    assert len(json.loads((tmp_path / "services.json").read_text())["services"]) == 1


class Clock(Platform):
    now = 1_790_000_000_000_000

    def now_us(self) -> int:
        return self.now


@pytest.mark.needs("root", "netns")
def test_service_that_comes_and_goes_is_told_once_a_day(net: Lan, tmp_path: Path) -> None:
    def body() -> list[int]:
        platform = Clock(state=tmp_path, run=tmp_path)
        sensor = ServicesSensor(platform)
        list(sensor.open())
        told = []
        for _ in range(3):
            with listen(socket.SOCK_STREAM, "0.0.0.0", 8080):
                told.append(len(list(sensor.tick())))
            list(sensor.tick())
        platform.now += AGAIN_US
        with listen(socket.SOCK_STREAM, "0.0.0.0", 8080):
            told.append(len(list(sensor.tick())))
        return told

    assert net.run("pc", body) == [1, 0, 0, 1]


def body_of(family: int, port: int, address: bytes) -> bytes:
    identity = struct.pack(">HH", port, 0) + address.ljust(16, b"\0") + bytes(16) + bytes(12)
    return bytes([family, 10, 0, 0]) + identity + bytes(12) + struct.pack("=II", 0, 4711)


def test_answer_of_the_kernel() -> None:
    found = parse_listener(body_of(socket.AF_INET, 22, bytes([0, 0, 0, 0])), "tcp")
    assert found is not None
    assert (found.address, found.port, found.inode) == ("0.0.0.0", 22, 4711)
    assert parse_listener(body_of(socket.AF_INET, 0, b""), "tcp") is None


@given(st.binary(max_size=120))
def test_any_bytes_are_an_answer_or_nothing(data: bytes) -> None:
    parse_listener(data, "udp")
