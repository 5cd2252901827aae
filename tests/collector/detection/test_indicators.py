"""Indicator lists against events as they come in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from collector.detection.runtime import Detector
from collector.registers.indicators import Value, add_list, get_list, withdraw
from collector.registers.store import now_us
from policies.model import Rule
from policies.shipped import load_shipped
from protocol.events import ConnectionOpened, DnsResolved, ProcessStarted
from tests.collector.detection.city import T0, City

DIGEST = "ab" * 32
NAMES = ("indicator_connection", "indicator_name", "indicator_program")


@pytest.fixture
def city(found: Callable[..., City]) -> City:
    rules: list[Rule] = [rule for rule in load_shipped()[1] if rule.id in NAMES]
    return found(rules)


def judge(city: City) -> None:
    """Take in what is there; a detector looks at the registers when it starts (and when it is poked)."""
    detector = Detector(city.data)
    try:
        detector.settle()
    finally:
        detector.close()


def test_what_a_list_names_is_flagged_from_its_import_until_its_withdrawal(city: City) -> None:
    seen = [
        ConnectionOpened(time_us=T0, dest_ip="198.51.100.9", dest_port=443),
        DnsResolved(time_us=T0, query="www.bad.example"),
        ProcessStarted(time_us=T0, digest=DIGEST),
        ConnectionOpened(time_us=T0, dest_ip="203.0.113.1", dest_port=443),
    ]
    city.send("pc1", seen)
    judge(city)
    assert city.alerts() == []

    with city.store.write() as session:
        row = add_list(
            session,
            [Value("network", "198.51.100.0/24"), Value("domain", "bad.example"), Value("hash", DIGEST)],
            title="JC3",
            source="JC3",
            from_us=0,
            until_us=now_us() * 2,
            by="net",
            now_us=T0,
        )
    city.send("pc1", seen)
    judge(city)
    assert sorted(alert.rule_id for alert in city.alerts()) == sorted(NAMES)

    with city.store.write() as session:
        withdraw(get_list(session, row.id), by="net", now_us=T0)
    city.send("pc1", seen)
    judge(city)
    assert len(city.alerts()) == len(NAMES)
