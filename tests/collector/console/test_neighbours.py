from collections.abc import Callable

import pytest
import zmq

from collector import bus
from collector.registers.models import Agent
from collector.registers.neighbours import Own, Plugged, Seen, put_own, put_plugged, put_seen
from tests.collector.console.world import PC1, PC2, START, Caller, World

SignIn = Callable[[str | None], Caller]
LAN, OTHER = "10.1.0.0/24 00:00:5e:00:53:01", "10.2.0.0/24 00:00:5e:00:53:02"
ROGUE, PRINTER, OWN = "02:00:5e:00:53:66", "00:00:5e:00:53:10", "00:00:5e:00:53:11"


@pytest.fixture
def seen(world: World) -> World:
    with world.console.store.write() as session:
        put_seen(
            session,
            [
                Seen(
                    agent_id=PC1,
                    segment=LAN,
                    mac=ROGUE,
                    ip="10.1.0.66",
                    randomised=True,
                    via="arp",
                    why="new",
                    time_us=START,
                ),
                Seen(agent_id=PC1, segment=LAN, mac=OWN, via="dhcp", why="new", time_us=START + 1),
                Seen(agent_id=PC2, segment=OTHER, mac=PRINTER, why="new", time_us=START + 2, copied=True),
            ],
        )
        put_own(
            session,
            [
                Own(
                    agent_id=PC2,
                    mac=OWN,
                    interface="eth0",
                    segment=LAN,
                    hostname="",
                    addresses=(),
                    time_us=START,
                )
            ],
        )
        put_plugged(
            session,
            [
                Plugged(
                    agent_id=one,
                    interface="eth0",
                    segment=LAN,
                    switch="sw",
                    port=f"p{at}",
                    ip="",
                    via="lldp",
                    time_us=START,
                )
                for at, one in enumerate((PC1, PC2))
            ],
        )
        for at, name in enumerate((PC1, PC2)):
            row = session.get_one(Agent, name)
            row.segments, row.sensors = [LAN], {"neighbours": ("running", "standby")[at]}
    return world


def test_machines_are_listed_with_what_the_register_says_of_them(seen: World, sign_in: SignIn) -> None:
    caller = sign_in("network_admin")
    listed = caller.get("/neighbours")
    assert [(one["mac"], one["asset"], one["watcher"]) for one in listed] == [
        (PRINTER, "unknown", "fukushi-01"),
        (OWN, "city", "zeimu-01"),
        (ROGUE, "unknown", "zeimu-01"),
    ]
    assert listed[0]["copied_us"] == START + 2
    caller.post("/assets", {"id": "printer-1", "kind": "printer", "subject": {"mac": "00-00-5E-00-53-10"}})
    assert [one["mac"] for one in caller.get("/neighbours", asset="unknown")] == [ROGUE]
    assert [one["mac"] for one in caller.get("/neighbours", segment=OTHER)] == [PRINTER]


def test_a_section_head_sees_what_the_own_pcs_see(seen: World, sign_in: SignIn) -> None:
    caller = sign_in("section_head")
    assert {one["mac"] for one in caller.get("/neighbours")} == {ROGUE, OWN}
    assert [one["segment"] for one in caller.get("/segments")] == [LAN]
    assert [one["hostname"] for one in caller.get("/switch-ports")] == ["zeimu-01"]


def test_segments_say_who_watches_and_which_nobody_does(seen: World, sign_in: SignIn) -> None:
    first, second = sign_in("auditor").get("/segments")
    assert first == {"segment": LAN, "watchers": ["zeimu-01"], "standby": 1, "machines": 2, "unknown": 1}
    assert second == {"segment": OTHER, "watchers": [], "standby": 0, "machines": 1, "unknown": 1}


def test_switch_ports_are_listed(seen: World, sign_in: SignIn) -> None:
    ports = sign_in("it_staff").get("/switch-ports")
    assert [(one["hostname"], one["switch"], one["port"]) for one in ports] == [
        ("zeimu-01", "sw", "p0"),
        ("fukushi-01", "sw", "p1"),
    ]


def test_a_registered_machine_counts_at_once_and_a_mac_that_is_none_is_refused(
    world: World, sign_in: SignIn
) -> None:
    caller = sign_in("it_staff")
    context = zmq.Context[zmq.Socket[bytes]]()
    inlet = bus.inlet(context, world.data / "run", "detector")
    try:
        added = caller.post(
            "/assets", {"id": "sw-1", "kind": "network", "subject": {"mac": "0000.5e00.5312"}}
        )
        assert added["subject"]["mac"] == "00:00:5e:00:53:12"
        assert inlet.poll(5000)
        assert inlet.recv() == b"registers"
    finally:
        inlet.close()
        context.term()
    body = {"id": "sw-2", "kind": "network", "subject": {"mac": "none"}}
    assert caller.refused("POST", "/assets", body) == (422, "bad_value")
