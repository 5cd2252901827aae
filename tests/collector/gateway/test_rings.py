"""Releases to a ring over real sockets: who gets which bundle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from collector.registers import releases
from collector.registers.models import Agent
from collector.registers.store import now_us
from protocol.messages import HeartbeatReply, PolicyBundle, PolicyFetch
from tests.collector.gateway.pc import PC, City, Running, running
from tests.e2e.testbed.machine import wait_for

New = Callable[..., PC]


def set_ring(city: City, ring: str, *pcs: PC) -> None:
    with city.store() as store, store.write() as session:
        releases.set_ring(session, ring, [pc.id for pc in pcs])


@pytest.fixture
def pcs(city: City, new_pc: New) -> tuple[PC, PC]:
    pilot, other = new_pc("pilot"), new_pc("other")
    set_ring(city, "pilot", pilot)
    return pilot, other


def generation_told(pc: PC, have: int) -> int:
    """The generation that the answer to a heartbeat names."""
    pc.send("control", pc.beat(policy_generation=have))
    return pc.expect("control", HeartbeatReply).policy_generation


def test_only_the_ring_gets_its_release_and_all_get_it_when_it_is_promoted(
    city: City, pcs: tuple[PC, PC]
) -> None:
    pilot, other = pcs
    city.release(1)
    document = city.release(2, "pilot")
    with running(city) as gateway:
        for pc in pcs:
            pc.connect(gateway, "control")
        pilot.send("control", pilot.beat(policy_generation=1))
        assert pilot.expect("control", HeartbeatReply).policy_generation == 2
        assert pilot.expect("control", PolicyBundle).document == document
        assert generation_told(other, 1) == 1
        assert other.receive("control", 0.3) is None
        assert isinstance(other.ask("control", PolicyFetch(have=1)), HeartbeatReply), "nor may it fetch it"
        with city.store() as store, store.write() as session:
            releases.promote(session, 2, now_us())
        gateway.poke("policy")
        assert other.expect("control", PolicyBundle).document == document, "the same signed document"


def test_a_pc_that_joins_a_ring_gets_its_release_and_keeps_it_when_it_leaves(
    city: City, pcs: tuple[PC, PC], gateway: Running
) -> None:
    _, other = pcs
    city.release(1)
    city.release(2, "pilot")
    other.connect(gateway, "control")
    gateway.poke("policy")
    wait_for("the gateway to know the release", lambda: generation_told(other, 1) == 1)
    set_ring(city, "pilot", other)
    gateway.poke("agents")
    assert other.expect("control", PolicyBundle).generation == 2
    set_ring(city, "", other)
    gateway.poke("agents")
    # It is meant to have 1, and never gets what is older than it has.
    for _ in range(3):
        other.send("control", other.beat(policy_generation=2))
        while (message := other.receive("control", 0.2)) is not None:
            assert isinstance(message, HeartbeatReply)
            told = message.policy_generation
    assert told == 1
    city.release(3)
    gateway.poke("policy")
    assert other.expect("control", PolicyBundle).generation == 3


def test_a_newer_release_for_all_goes_before_the_ring(
    city: City, pcs: tuple[PC, PC], gateway: Running
) -> None:
    pilot, _ = pcs
    city.release(1, "pilot")
    city.release(2)
    pilot.connect(gateway, "control")
    pilot.send("control", pilot.beat())
    assert pilot.expect("control", PolicyBundle).generation == 2


def test_two_rings_are_kept_apart(city: City, pcs: tuple[PC, PC], gateway: Running) -> None:
    pilot, other = pcs
    set_ring(city, "second", other)
    city.release(1, "pilot")
    city.release(2, "second")
    for pc, generation in ((pilot, 1), (other, 2)):
        pc.connect(gateway, "control")
        pc.send("control", pc.beat())
        assert pc.expect("control", PolicyBundle).generation == generation


def test_before_the_first_release_for_all_only_the_ring_has_one(
    city: City, pcs: tuple[PC, PC], gateway: Running
) -> None:
    pilot, other = pcs
    city.release(1, "pilot")
    for pc in pcs:
        pc.connect(gateway, "control")
    assert generation_told(other, 0) == 0
    pilot.send("control", pilot.beat())
    assert pilot.expect("control", PolicyBundle).generation == 1
    with city.store() as store, store.write() as session:
        session.execute(update(Agent).values(ring=""))
    assert city.agent(pilot).ring == ""
