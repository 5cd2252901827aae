"""Strangers and copies on segments: from the journal to the alert, and in the register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.detection.places import MOVE_US, TOGETHER_US, Places
from collector.detection.runtime import Detector
from collector.registers.assets import add_asset, update_asset
from collector.registers.models import Agent
from collector.registers.neighbours import (
    MOST_OF_PC,
    MOST_OF_SEGMENT,
    Seen,
    city_macs,
    list_neighbours,
    put_seen,
)
from collector.registers.neighbours import switch_ports as plugged
from policies.compile import compile_directory
from policies.model import Rule, Subject
from policies.ordinance import load_ordinances
from policies.shipped import shipped_directory
from protocol.events import NeighbourSeen
from tests.collector.detection.city import T0, City

LGWAN, OTHER = "10.10.2.0/24 00:00:5e:00:53:01", "10.10.3.0/24 00:00:5e:00:53:02"
ROGUE, PRINTER, OWN = "02:00:5e:00:53:66", "00:00:5e:00:53:10", "00:00:5e:00:53:11"
NAMES = {"unregistered_machine", "copied_mac", "neighbour_flood"}


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    every = compile_directory(shipped_directory("rules"), load_ordinances(shipped_directory("ordinances")))
    return [rule for rule in every if rule.id in NAMES]


@pytest.fixture
def city(found: Callable[..., City], rules: list[Rule]) -> City:
    made = found(rules)
    with made.store.write() as session:
        for name in ("pc1", "pc2"):
            session.add(
                Agent(id=name, curve_key=b"", sign_key=b"", status="active", hostname=name, enrolled_us=T0)
            )
    return made


def seen(mac: str, why: str = "new", segment: str = LGWAN, **more: Any) -> NeighbourSeen:
    return NeighbourSeen(time_us=T0, segment=segment, interface="eth0", mac=mac, via="arp", why=why, **more)


def own(mac: str, segment: str = LGWAN, hostname: str = "pc1") -> NeighbourSeen:
    return seen(mac, "own", segment, hostname=hostname, addresses=("10.10.2.11",))


def register(city: City, mac: str, asset: str = "printer-1") -> None:
    with city.store.write() as session:
        add_asset(session, asset, "printer", Subject(mac=mac), created_by="it", now_us=T0)


def found_by(city: City) -> list[tuple[str, str]]:
    return [(alert.rule_id, alert.event["mac"]) for alert in city.alerts()]


def test_a_stranger_is_flagged_by_the_article_and_a_registered_machine_is_not(
    city: City, detect: Callable[[City], Detector]
) -> None:
    register(city, PRINTER.upper().replace(":", "-"))
    detect(city)
    city.send(
        "pc1",
        [own(OWN), seen(PRINTER), seen(ROGUE, randomised=True), seen(ROGUE, "address", randomised=True)],
    )
    detect(city)
    assert found_by(city) == [("unregistered_machine", ROGUE)]
    (alert,) = city.alerts()
    assert {"ordinance": "nagoya", "article": "第35条第5号", "edition": "2016-04-01"} in alert.citations
    assert alert.level == "critical"
    with city.store.read() as session:
        rows = {row.mac: row for row in list_neighbours(session)}
        assert city_macs(session) == {PRINTER, OWN}
    assert rows.keys() == {PRINTER, ROGUE}
    assert (rows[ROGUE].agent_id, rows[ROGUE].segment, rows[ROGUE].randomised) == ("pc1", LGWAN, True)


def test_a_pc_with_an_agent_is_no_stranger_to_another_from_the_first_moment(
    city: City, detect: Callable[[City], Detector]
) -> None:
    city.send("pc2", [own(OWN, hostname="pc2")])
    city.send("pc1", [seen(OWN)])
    detect(city)
    assert found_by(city) == []


def test_a_change_of_the_register_counts_from_then_on(city: City, detect: Callable[[City], Detector]) -> None:
    city.send("pc1", [seen(PRINTER)])
    detector = detect(city)
    register(city, PRINTER)
    detector._registers_at = 0.0
    detect(city)
    city.send("pc1", [seen(PRINTER, "again")])
    detect(city)
    assert found_by(city) == [("unregistered_machine", PRINTER)]
    with city.store.write() as session:
        update_asset(session, "printer-1", active=False)
    detector._registers_at = 0.0
    detect(city)
    city.send("pc1", [seen(PRINTER, "again")])
    detect(city)
    assert len(found_by(city)) == 2


def test_each_of_many_strangers_behind_one_watcher_has_its_alert(
    city: City, detect: Callable[[City], Detector]
) -> None:
    city.send("pc1", [seen(f"02:00:5e:00:53:{number:02x}") for number in range(40)])
    detect(city)
    assert len({mac for _, mac in found_by(city)}) == 40


def test_the_name_of_another_behind_a_pcs_mac_is_a_copy(
    city: City, detect: Callable[[City], Detector]
) -> None:
    city.send("pc2", [own(OWN, hostname="zeimu-02.city.example")])
    city.send("pc1", [seen(OWN, hostname="ZEIMU-02"), seen(OWN, "fingerprint", hostname="kali")])
    detect(city)
    (alert,) = city.alerts()
    assert (alert.rule_id, alert.event["copied"], alert.event["elsewhere"]) == (
        "copied_mac",
        "other_name",
        LGWAN,
    )
    assert alert.citations
    with city.store.read() as session:
        (row,) = list_neighbours(session)
    assert row.copied_us


def test_what_the_register_remembers_survives_a_restart(
    city: City, tmp_path: Any, detect: Callable[[City], Detector]
) -> None:
    register(city, PRINTER)
    city.send("pc1", [seen(PRINTER, hostname="printer", fingerprint="1,3 HP")])
    detect(city)
    again = Detector(city.data)
    city.send("pc2", [seen(PRINTER, hostname="printer", fingerprint="1,28,2 dhcpcd")])
    again.settle()
    again.close()
    assert found_by(city) == [("copied_mac", PRINTER)]


def test_where_pcs_are_plugged_in_is_kept(city: City, detect: Callable[[City], Detector]) -> None:
    event = NeighbourSeen(
        time_us=T0,
        segment=LGWAN,
        interface="eth0",
        mac=ROGUE,
        via="lldp",
        why="switch",
        switch="sw-3f",
        port="Gi1/0/7",
    )
    city.send("pc1", [event, event])
    detect(city)
    assert found_by(city) == [], "a switch says where the PC is; it is no machine of the segment"
    with city.store.read() as session:
        (row,) = plugged(session)
    assert (row.agent_id, row.switch, row.port, row.via) == ("pc1", "sw-3f", "Gi1/0/7", "lldp")


def test_the_register_is_bounded_per_segment_and_per_pc(
    city: City, detect: Callable[[City], Detector]
) -> None:
    many = [
        Seen(agent_id="pc1", segment=LGWAN, mac=f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", time_us=n)
        for n in range(MOST_OF_SEGMENT + 50)
    ]
    with city.store.write() as session:
        put_seen(session, many)
    city.send("pc1", [own(f"02:00:5e:00:54:{number:02x}") for number in range(40)])
    detect(city)
    with city.store.read() as session:
        rows = list(list_neighbours(session))
        assert len(city_macs(session)) == MOST_OF_PC
    assert len(rows) == MOST_OF_SEGMENT
    assert rows[-1].last_us == 50


# -- two places ------------------------------------------------------------------------------------------------------


def test_a_pc_on_the_move_is_no_copy_but_one_in_two_places_is() -> None:
    places = Places()
    places.own("pc1", own(OWN, LGWAN))
    assert places.seen("pc2", 1, seen(OWN, segment=OTHER), 0) is None
    places.own("pc1", own(OWN, OTHER))
    assert list(places.due(MOVE_US)) == []
    assert places.seen("pc2", 2, seen(OWN, segment=LGWAN), MOVE_US) is None
    assert list(places.due(2 * MOVE_US - 1)) == []
    (copy,) = places.due(2 * MOVE_US)
    assert (copy.agent_id, copy.seq, copy.why, copy.elsewhere) == ("pc2", 2, "two_places", OTHER)
    assert list(places.due(9 * MOVE_US)) == []


@pytest.mark.parametrize(
    ("via", "ip", "copied"),
    [
        ("arp", "10.10.2.66", True),
        ("arp", "10.10.2.11", False),
        ("dhcp", "10.10.2.66", False),  # a lease it asks for, perhaps in vain
        ("arp", "10.10.9.9", False),  # an address of where it was before
        ("ndp", "fe80::66", False),
        ("arp", "", False),
    ],
)
def test_a_pcs_mac_with_an_address_that_pc_does_not_have_is_a_copy(via: str, ip: str, copied: bool) -> None:
    places = Places()
    places.own("pc1", own(OWN, LGWAN))
    event = NeighbourSeen(time_us=T0, segment=LGWAN, mac=OWN, via=via, ip=ip, why="address")
    assert places.seen("pc2", 1, event, 0) is None
    assert [copy.why for copy in places.due(MOVE_US)] == ["other_address"] * copied


def test_a_machine_without_an_agent_is_a_copy_when_it_is_here_and_there_and_here() -> None:
    def third(passed: int) -> Any:
        places = Places()
        assert places.seen("pc1", 1, seen(PRINTER, segment=LGWAN), 0) is None
        assert places.seen("pc2", 2, seen(PRINTER, segment=OTHER), 1) is None
        return places.seen("pc1", 3, seen(PRINTER, "again", LGWAN), passed)

    copy = third(TOGETHER_US - 1)
    assert (copy.why, copy.elsewhere) == ("two_places", OTHER)
    assert third(TOGETHER_US) is None, "carried away and back"


MACS = st.sampled_from([OWN, ROGUE, PRINTER])
STEPS = st.tuples(
    st.sampled_from(["pc1", "pc2"]),
    MACS,
    st.sampled_from([LGWAN, OTHER]),
    st.booleans(),
    st.integers(0, MOVE_US),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_comes_a_copy_names_another_place_or_look(
    steps: list[tuple[str, str, str, bool, int]],
) -> None:
    places, now = Places(), 0
    for agent, mac, segment, is_own, passed in steps:
        now += passed
        if is_own:
            places.own(agent, own(mac, segment))
        elif (copy := places.seen(agent, 1, seen(mac, segment=segment), now)) is not None:
            assert copy.elsewhere != segment
        for late in places.due(now):
            assert (late.why, late.elsewhere != "") == ("two_places", True)
