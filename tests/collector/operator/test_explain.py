"""``sekisho explain`` as it is typed."""

import json

from collector.registers.store import now_us
from protocol.events import DeviceAttached, DeviceBlocked
from tests.collector.console.world import PC1
from tests.collector.operator.conftest import Desk


def test_an_event_is_explained(desk: Desk) -> None:
    desk.login("network_admin")
    assert desk.run("policy", "apply", *desk.key("policy"), "--yes")[0] == 0
    now = now_us()
    desk.world.journal(
        PC1,
        DeviceAttached(
            time_us=now, device_class="storage", serial="S1", rules=("unknown_device",), policy="0:old"
        ),
        DeviceBlocked(time_us=now, device_class="storage", label="USB"),
    )
    listed = desk.run("events", "--host", "zeimu-01", "--kind", "device.attached")[1].splitlines()
    assert listed[0].startswith("id\t")
    (event_id,) = {line.split("\t")[0] for line in listed[1:]}
    assert event_id == "zeimu-01:1"
    code, out, _ = desk.run("explain", event_id)
    assert code == 0
    first, other, *_ = out.splitlines()
    assert first.startswith("device.attached 1 of zeimu-01, by policy 1:")
    assert other == "the PC judged it by policy 0:old"
    assert "unknown_device (high) Device without a permit — nagoya 第35条第4号" in out
    assert (
        "unknown_device\tfires (PC and collector)\tkind\tequals\tdevice.attached\tdevice.attached\tevent"
        in out
    )
    assert "\t\tpermit\tequals\tnone\tnone\tlook-up" in out
    assert "\t\tdevice_class\tequals (not)\tbadusb\tstorage\tevent" in out
    japanese = desk.run("--lang", "ja", "explain", event_id)[1]
    assert "該当（端末・収集）" in japanese
    assert "許可のない機器が接続された" in japanese
    found = json.loads(desk.run("explain", event_id, "--json")[1])
    assert "unknown_device" in {rule["id"] for rule in found["rules"]}
    out = desk.run("explain", "zeimu-01:2", "--rule", "unknown_device")[1]
    assert "unknown_device\tdoes not fire\tkind\tequals (not)\tdevice.attached\tdevice.blocked\tevent" in out


def test_what_is_not_there_is_said(desk: Desk) -> None:
    desk.login("network_admin")
    code, _, err = desk.run("explain", "zeimu-01:4711")
    assert (code, "[not_found]" in err) == (1, True)
    code, _, err = desk.run("explain", "nonsense")
    assert (code, "HOST:NUMBER" in err) == (1, True)
