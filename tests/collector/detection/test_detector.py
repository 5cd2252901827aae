import json
import os
from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import text

from collector.detection.runtime import Detector
from collector.registers.models import Alert
from policies.model import Any, Compare
from protocol.events import ConnectionOpened, DeviceAttached, DeviceBlocked
from tests.collector.detection.city import ANY_DEVICE, T0, UNPERMITTED, City, permit, rule

Found = Callable[..., City]
Detect = Callable[[City], Detector]
ROUTINE = ConnectionOpened(time_us=T0, dest_ip="10.0.0.1")


def attached(number: int = 0, device_id: str = "usb-1", **fields: object) -> DeviceAttached:
    return msgspec.structs.replace(DeviceAttached(time_us=T0 + number, device_id=device_id), **fields)


def run_once(city: City) -> None:
    detector = Detector(city.data)
    detector.settle()
    detector.close()


def test_a_violation_becomes_an_alert_that_cites_its_article(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [ROUTINE, attached(action="blocked", rules=("unpermitted",)), ROUTINE])
    detect(city)
    (alert,) = city.alerts()
    assert (alert.rule_id, alert.rule_version, alert.agent_id, alert.seq) == ("unpermitted", "1", "pc1", 2)
    assert alert.citations == [{"ordinance": "nagoya", "article": "第35条第4号", "edition": "2016-04-01"}]
    assert (alert.action, alert.kind, alert.level) == ("blocked", "device.attached", "high")
    assert (alert.found_by, alert.summary, alert.count) == ("both", False, 1)
    assert alert.event["device_id"] == "usb-1"
    assert alert.title_ja == "規則unpermitted"


def test_a_permit_that_the_pc_claims_is_not_believed(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED], [permit("usb-real", "pc1")])
    city.send("pc1", [attached(permit="granted", permit_id="permit-usb-real", action="allowed")])
    city.send("pc1", [attached(device_id="usb-real", permit="granted", action="allowed")])
    city.send("pc2", [attached(device_id="usb-real", permit="granted", action="allowed")])
    detect(city)
    assert [(one.agent_id, one.seq, one.found_by) for one in city.alerts()] == [
        ("pc1", 1, "collector"),
        ("pc2", 1, "collector"),
    ]


def test_a_pc_cannot_date_an_event_back_or_ahead_of_its_receipt(found: Found, detect: Detect) -> None:
    city = found(
        [rule("expired", "device", Compare("permit", "eq", ("expired",)))],
        [permit("usb-1", until_us=T0 + 10)],
    )
    city.send("pc1", [attached(5)], received_us=T0 + 100)
    city.send("pc1", [attached(50)], received_us=T0 + 100)
    detect(city)
    assert [one.seq for one in city.alerts()] == [2]


def test_what_only_the_pc_saw_is_kept(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED, rule("other", "media", Any(()))])
    city.send("pc1", [attached(rules=("other", "unpermitted"))])
    detect(city)
    assert {(one.rule_id, one.found_by) for one in city.alerts()} == {
        ("unpermitted", "both"),
        ("other", "pc"),
    }


def test_made_up_rules_share_one_alert_per_event_and_one_budget(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send(
        "pc1",
        [
            attached(n, permit="granted", rules=tuple(f"made-up-{n}-{m}" for m in range(50)))
            for n in range(20)
        ],
    )
    detect(city)
    unknown = [one for one in city.alerts() if one.rule_id == "unknown_rule"]
    assert sum(one.count for one in unknown) == 20
    assert len(unknown) == 6


def test_without_a_release_the_pcs_own_hits_are_flagged(found: Found, detect: Detect) -> None:
    city = found()
    city.send("pc9", [DeviceBlocked(time_us=T0, action="blocked", rules=("unpermitted",))])
    detect(city)
    assert [(one.rule_id, one.found_by) for one in city.alerts()] == [("unknown_rule", "pc")]


def test_an_agent_that_is_in_no_register_is_flagged_too(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("nobody-knows", [attached()])
    detect(city)
    assert [one.agent_id for one in city.alerts()] == ["nobody-knows"]


def test_a_rule_that_raises_is_an_alert_and_the_others_go_on(found: Found, detect: Detect) -> None:
    broken = rule("broken", "device", Compare("label", "re", ("(",)))
    city = found([broken, ANY_DEVICE])
    city.send("pc1", [attached()])
    detector = detect(city)
    alerts = {one.rule_id: one for one in city.alerts()}
    assert alerts.keys() == {"rule_error:broken", "any_device"}
    assert alerts["rule_error:broken"].event["rule_error"]
    assert "規則broken" in alerts["rule_error:broken"].title_ja
    assert detector.pipeline.rule_errors == 1


def test_a_look_up_that_raises_is_an_alert_and_the_others_go_on(
    found: Found, detect: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = found([ANY_DEVICE])
    city.send("pc1", [attached(0), attached(1, device_id="poison"), attached(2)])
    from policies.enrich import CompiledBundle

    known = CompiledBundle.known

    def fragile(self: CompiledBundle, event: DeviceAttached, place: object, now_us: int) -> object:
        if event.device_id == "poison":
            raise ZeroDivisionError("poisoned")
        return known(self, event, place, now_us)  # type: ignore[arg-type]

    monkeypatch.setattr(CompiledBundle, "known", fragile)
    detect(city)
    assert [(one.seq, one.rule_id) for one in city.alerts()] == [
        (1, "any_device"),
        (2, "rule_error:enrichment"),
        (3, "any_device"),
    ]


def test_a_new_release_takes_effect_and_a_forged_one_does_not(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [attached()])
    detector = detect(city)
    city.release([ANY_DEVICE])
    city.send("pc1", [attached(1)])
    detect(city)
    city.release([UNPERMITTED], forged=True)
    city.send("pc1", [attached(2)])
    detect(city)
    detect(city)
    rules = [one.rule_id for one in city.alerts()]
    assert sorted(rules) == ["any_device", "any_device", "finding:policy_refused", "unpermitted"]
    assert "foreign" in detector.health["policy"]


def test_a_flood_is_counted_and_the_count_goes_on_after_a_restart(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [attached(n) for n in range(30)])
    run_once(city)
    again = Detector(city.data)
    city.send("pc1", [attached(n) for n in range(30, 50)])
    again.settle()
    again.close()
    alerts = city.alerts()
    assert [one.count for one in alerts] == [1, 1, 1, 1, 1, 45]
    assert [one.summary for one in alerts] == [False] * 5 + [True]


def test_a_locked_control_database_delays_alerts_and_loses_none(
    found: Found, detect: Detect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.registers.store.BUSY_TIMEOUT_MS", 10)
    city = found([UNPERMITTED])
    detector = detect(city)
    city.send("pc1", [attached()])
    with city.store.write() as session:
        session.execute(text("UPDATE settings SET value = value"))
        detector._look_at = 0.0
        detector.step(0)
        assert "locked" in detector.health["control_db"]
        assert not city.alerts()
    detector.settle()
    assert len(city.alerts()) == 1
    assert not detector.health


def test_a_journal_put_back_from_a_copy_is_reported_and_detected_anew(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [attached(1)])
    city.send("pc1", [attached(2)])
    run_once(city)
    city.journal._ready().execute("DELETE FROM batches WHERE id = 2")
    city.close()
    newer = City.__new__(City)
    newer.__dict__.update(city.__dict__)
    from collector.evidence.journal import Journal
    from collector.registers.store import open_store

    newer.journal, newer.store = Journal(city.data / "journal.db"), open_store(city.data / "control.db")
    again = Detector(city.data)
    newer.send("pc3", [attached(3)])
    again.settle()
    again.close()
    alerts = [(one.rule_id, one.agent_id) for one in newer.alerts()]
    assert ("finding:journal_rewound", "") in alerts
    assert ("unpermitted", "pc3") in alerts
    newer.close()


def test_the_status_file_says_where_it_stands(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [attached(), ROUTINE])
    run_once(city)
    path = city.data / "run" / "detector.stats.json"
    stats = json.loads(path.read_bytes())
    assert (stats["events"], stats["batches"], stats["alerts"], stats["row"], stats["lag_rows"]) == (
        2,
        1,
        1,
        1,
        0,
    )
    assert stats["policy"].startswith("1:")
    assert stats["pid"] == os.getpid()
    assert path.stat().st_mode & 0o777 == 0o600


def test_alerts_carry_what_the_index_of_models_promises(found: Found, detect: Detect) -> None:
    city = found([ANY_DEVICE])
    city.send("pc1", [attached()])
    detect(city)
    (alert,) = city.alerts()
    filled = {column.name for column in Alert.__table__.columns if getattr(alert, column.name) is not None}
    assert filled == {column.name for column in Alert.__table__.columns}
