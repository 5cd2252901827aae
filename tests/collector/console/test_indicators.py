"""Indicator lists: imported, compared with what comes and with what is stored, withdrawn."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.registers.indicators import IndicatorTable, Value, canonical, in_force, read_csv
from protocol.events import ConnectionOpened, DnsResolved, ProcessStarted
from tests.collector.console.world import PC1, PC2, START, Caller, World

DIGEST = "ab" * 32
LIST = f"""value,remark
# JC3 2027-01
{DIGEST.upper()},dropper
hxxps://bad[.]example/path?x=1,lure
198.51.100.0/24,command and control
2001:DB8::0007,
not an indicator,
0.0.0.0/0,everything
"""


def new_list(**changes: Any) -> dict[str, Any]:
    values = {"title": "JC3", "source": "JC3", "from_us": 0, "until_us": START * 2, "text": LIST}
    return {**values, **changes}


def test_good_rows_are_taken_and_bad_ones_named() -> None:
    values, bad = read_csv(LIST)
    assert values == [
        Value("hash", DIGEST),
        Value("domain", "bad.example"),
        Value("network", "198.51.100.0/24"),
        Value("network", "2001:db8::7"),
    ]
    assert [row.line for row in bad] == [7, 8]


@given(st.text())
def test_reading_never_fails_and_is_stable(text: str) -> None:
    values, _bad = read_csv(text)
    for value in values:
        assert canonical(value.value) == value


def test_names_below_and_addresses_inside_are_found() -> None:
    table = IndicatorTable(("JC3", value) for value in read_csv(LIST)[0])
    assert len(table) == 4
    for value in ("BAD.example.", "a.b.bad.example", "198.51.100.200", "2001:db8::7", DIGEST):
        assert table.find((value,)) == "JC3", value
    assert table.find(("example", "notbad.example", "198.51.101.1", "", "cd" * 32)) == ""


def test_looking_back_finds_what_was_there_before(world: World) -> None:
    old = START - 1_000_000
    world.journal(
        PC1,
        ConnectionOpened(time_us=old, dest_ip="198.51.100.9", dest_port=443, user="tanaka"),
        ConnectionOpened(time_us=old + 1, dest_ip="198.51.100.9", dest_port=443, user="tanaka"),
        ConnectionOpened(time_us=old + 2, dest_ip="203.0.113.1"),
    )
    world.journal(
        PC2, DnsResolved(time_us=old, query="www.bad.example"), ProcessStarted(time_us=old, digest=DIGEST)
    )
    net = Caller(world, "network_admin")
    kept = net.post("/indicators", new_list())
    assert (kept["count"], kept["bad_count"]) == (4, 2)
    found = net.call("POST", f"/indicators/{kept['id']}/match", {"since_us": 0, "reason": "JC3"}).json()
    assert [(one["host"], one["value"], one["count"]) for one in found] == [
        ("zeimu-01", "198.51.100.9", 2),
        ("fukushi-01", "www.bad.example", 1),
        ("fukushi-01", DIGEST, 1),
    ]
    net.call("POST", f"/indicators/{kept['id']}/match", {"since_us": 0, "reason": "again"})
    alerts = net.get("/alerts")
    assert len(alerts) == 3, "the same event is flagged once"
    assert all(any(one["ordinance"] == "nerima" for one in alert["citations"]) for alert in alerts)
    (listed,) = net.get("/indicators")
    assert listed["matches"] == 3


def test_a_list_holds_from_until_or_until_withdrawn(world: World) -> None:
    net = Caller(world, "network_admin")
    kept = net.post("/indicators", new_list(from_us=START, until_us=START + 10))
    for moment, size in ((START - 1, 0), (START, 4), (START + 10, 0)):
        with world.console.store.read() as session:
            assert len(in_force(session, moment)) == size
    net.call("POST", f"/indicators/{kept['id']}/withdraw")
    with world.console.store.read() as session:
        assert len(in_force(session, START)) == 0
    assert net.refused("POST", f"/indicators/{kept['id']}/withdraw") == (409, "wrong_state")
    assert net.refused("POST", "/indicators", new_list(text="nothing here")) == (422, "bad_value")
    assert net.refused("POST", "/indicators/none/match", {"since_us": 0, "reason": "x"}) == (404, "not_found")
    assert Caller(world, "auditor").refused("POST", "/indicators", new_list())[0] == 403
