"""Applications and the use log out of events: each once, nothing that a PC makes up."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from collector.detection.permit_log import MOST_IN_BATCH
from collector.detection.requests import BadRequestError, wanted_of
from collector.detection.runtime import Detector
from collector.registers import applications
from collector.registers.models import PermitRow
from collector.registers.models_permits import Application, PermitUse
from collector.registers.permit_use import DAY_US, day_of
from policies.granting import check_subject
from policies.model import PermitKind, Scope, Subject
from protocol.events import DeviceAttached, Event, PermitRequested
from tests.collector.detection.city import T0, UNPERMITTED, City, permit
from tests.collector.detection.test_crash import child, wait_until

Found = Callable[..., City]
Detect = Callable[[City], Detector]
ASKED = PermitRequested(
    time_us=T0,
    request="r1",
    user="tanaka",
    wanted="device",
    subject={"vendor_id": "0951", "product_id": "1666", "serial": "CITY-0001"},
    purpose="調査票の回収",
    days=30,
    refused="unknown_device",
)


def asked(**changes: Any) -> PermitRequested:
    return PermitRequested(**{**{name: getattr(ASKED, name) for name in ASKED.__struct_fields__}, **changes})


def test_an_event_becomes_an_application() -> None:
    wanted = wanted_of("pc1", ASKED)
    assert (wanted.applicant, wanted.kind, wanted.days, wanted.request) == ("tanaka", "device", 30, "r1")
    assert wanted.subject == Subject(vendor_id="0951", product_id="1666", serial="CITY-0001")
    assert (wanted.scope, wanted.refused_by) == (Scope(agents=("pc1",)), "unknown_device")


@pytest.mark.parametrize(
    "changes",
    [
        {"request": ""},
        {"request": "x" * 65},
        {"request": "\x1b[2J"},
        {"user": ""},
        {"user": "a\nb"},
        {"wanted": "everything"},
        {"days": 0},
        {"days": -3},
        {"days": 1 << 40},
        {"purpose": "  "},
        {"subject": {}},
        {"subject": {"serial": "s"}},
        {"subject": {"serial": "s", "account": "root"}},
        {"subject": {"__class__": "x"}},
        {"wanted": "destination", "subject": {"network": "192.0.2.1", "port": "0x50"}},
        {"wanted": "destination", "subject": {"network": "192.0.2.1", "port": "٣"}},
        {"wanted": "destination", "subject": {"network": "0.0.0.0/0"}},
        {"wanted": "software", "subject": {"digest": "short"}},
    ],
)
def test_what_is_no_application(changes: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        wanted_of("pc1", asked(**changes))


texts = st.text(max_size=70)


@given(
    st.builds(
        asked,
        request=texts,
        user=texts,
        wanted=st.sampled_from([*get_args(PermitKind), "x"]),
        subject=st.dictionaries(st.sampled_from(Subject.__struct_fields__) | texts, texts, max_size=4),
        purpose=texts,
        days=st.integers(-(1 << 62), 1 << 62),
        refused=texts,
    )
)
def test_whatever_a_pc_writes_is_an_application_or_refused(event: PermitRequested) -> None:
    try:
        wanted = wanted_of("pc1", event)
    except BadRequestError:
        return
    check_subject(wanted.kind, wanted.subject)
    assert wanted.scope == Scope(agents=("pc1",))
    assert 0 < wanted.days <= applications.MOST_DAYS


def used(city: City) -> dict[tuple[str, str, str, int], tuple[int, int]]:
    with city.store.read() as session:
        return {
            (row.permit_id, row.agent_id, row.person, row.day): (row.count, row.attempts)
            for row in session.scalars(select(PermitUse))
        }


def waiting(city: City) -> list[Application]:
    with city.store.read() as session:
        return applications.list_applications(session)


def permit_row(permit_id: str) -> PermitRow:
    return PermitRow(
        id=permit_id,
        kind="device",
        subject={"device_id": "d"},
        scope={},
        applicant="a",
        approver="b",
        approver_role="agency",
        ordinance="nagoya",
        article="第35条第4号",
        reason="x",
        from_us=0,
        until_us=T0 * 2,
        granted_us=0,
        granted_by="it",
    )


def register(city: City, *ids: str) -> None:
    """Enter permits, and release a policy so that the detector looks."""
    with city.store.write() as session:
        session.add_all(map(permit_row, ids))
    city.release([UNPERMITTED], [permit("d")])


def use(time_us: int = T0, permit_id: str = "p-1", state: str = "granted") -> Event:
    return DeviceAttached(time_us=time_us, permit=state, permit_id=permit_id)  # type: ignore[arg-type]


def test_applications_come_in_once_and_bad_ones_are_flagged(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [ASKED, asked(request="r2", days=0), asked(request="r3", wanted="wings")])
    city.send("pc1", [ASKED])
    city.send("pc2", [ASKED])
    detect(city)
    assert sorted((row.agent_id, row.request) for row in waiting(city)) == [("pc1", "r1"), ("pc2", "r1")]
    (alert,) = [one for one in city.alerts() if one.rule_id == "finding:bad_permit_request"]
    assert (alert.agent_id, alert.event["count"]) == ("pc1", 2)
    assert "wings" not in str(alert.event)


def test_a_flood_of_applications_is_cut_and_told(found: Found, detect: Detect) -> None:
    city = found([UNPERMITTED])
    city.send("pc1", [asked(request=f"r{number}") for number in range(MOST_IN_BATCH + 50)])
    city.send("pc2", [ASKED])
    detect(city).settle()
    rows = waiting(city)
    assert sum(row.agent_id == "pc1" for row in rows) == applications.MOST_OPEN
    assert sum(row.agent_id == "pc2" for row in rows) == 1
    assert any(one.rule_id == "finding:too_many_permit_requests" for one in city.alerts())


def test_uses_are_counted_by_permit_pc_person_and_day(found: Found, detect: Detect) -> None:
    city = found()
    register(city, "p-1", "p-2")
    detect(city)
    later = T0 + 2 * DAY_US
    mine = [use(), use(), use(permit_id="p-2"), use(state="expired"), use(T0 + DAY_US)]
    city.send("pc1", mine, received_us=later)
    city.send("pc2", [use(), use(permit_id="made-up"), DeviceAttached(time_us=T0)], received_us=later)
    detect(city)
    day = day_of(T0)
    assert used(city) == {
        ("p-1", "pc1", "", day): (2, 1),
        ("p-1", "pc1", "", day + 1): (1, 0),
        ("p-2", "pc1", "", day): (1, 0),
        ("p-1", "pc2", "", day): (1, 0),
    }


def test_a_clock_that_lies_moves_no_use_out_of_bounds(found: Found, detect: Detect) -> None:
    city = found()
    register(city, "p-1")
    detect(city)
    city.send("pc1", [use(-(1 << 62)), use(1 << 62)], received_us=T0)
    detect(city)
    assert {day for _, _, _, day in used(city)} == {day_of(T0 - 400 * DAY_US), day_of(T0)}


@dataclass
class Sent:
    uses: int = 0
    requests: set[tuple[str, str]] = field(default_factory=set)


def test_killed_at_random_nothing_is_lost_or_doubled(found: Found) -> None:
    city, sent = found(), Sent()
    register(city, "p-1")

    def send() -> None:
        for number in range(40):
            name = f"r{sent.uses}"
            city.send(f"pc{number}", [use(), asked(request=name), use()])
            sent.uses += 2
            sent.requests.add((f"pc{number}", name))

    for _ in range(4):
        before = sum(count for count, _ in used(city).values())
        send()
        with child(city.data) as process:
            wait_until(lambda before=before: sum(count for count, _ in used(city).values()) > before)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
    with child(city.data) as process:
        wait_until(lambda: sum(count for count, _ in used(city).values()) >= sent.uses)
        process.terminate()
        process.wait(30)
    assert sum(count for count, _ in used(city).values()) == sent.uses
    assert {(row.agent_id, row.request) for row in waiting(city)} == sent.requests
