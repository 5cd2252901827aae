import json

from collector.registers.neighbours import Plugged, Seen, put_plugged, put_seen
from tests.collector.console.world import PC1, START
from tests.collector.operator.conftest import Desk

LAN, ROGUE = "10.1.0.0/24 00:00:5e:00:53:01", "02:00:5e:00:53:66"


def test_neighbours_segments_and_ports_are_listed_and_a_machine_is_registered(desk: Desk) -> None:
    with desk.world.console.store.write() as session:
        put_seen(
            session, [Seen(agent_id=PC1, segment=LAN, mac=ROGUE, hostname="a\x1bb", why="new", time_us=START)]
        )
        port = Plugged(
            agent_id=PC1,
            interface="eth0",
            segment=LAN,
            switch="sw-3f",
            port="Gi1/0/7",
            ip="",
            via="lldp",
            time_us=START,
        )
        put_plugged(session, [port])
    desk.login("network_admin")
    code, out, _ = desk.run("neighbours", "--unknown")
    assert (code, ROGUE in out, "zeimu-01" in out, "\x1b" in out) == (0, True, True, False)
    (found,) = json.loads(desk.run("neighbours", "--json")[1])
    assert (found["mac"], found["asset"]) == (ROGUE, "unknown")
    code, out, _ = desk.run("--lang", "ja", "neighbours", "segments")
    assert (code, out.splitlines()[0].startswith("セグメント\t監視端末"), LAN in out) == (0, True, True)
    assert json.loads(desk.run("neighbours", "ports", "--json")[1])[0]["switch"] == "sw-3f"
    code, out, err = desk.run("assets", "add", "tablet-1", "other", "--mac", ROGUE.upper())
    assert (code, ROGUE in out) == (0, True), err
    assert desk.run("neighbours", "--unknown", "--json")[1].strip() == "[]"
    assert "[bad_value]" in desk.run("assets", "add", "x", "pc", "--mac", "nonsense")[2]
