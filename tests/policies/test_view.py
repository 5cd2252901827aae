"""What one PC sees of a release: permits, assets, zones, office hours, settings, and the rules that then fire."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.enrich import CompiledBundle, office_span
from policies.model import Destination, Permit, Scope, Setting, SoftwareAllow, Subject
from policies.permits import Where, find
from policies.view import PolicyView
from protocol.events import (
    AgentDropped,
    ConnectionBlocked,
    ConnectionOpened,
    DeviceAttached,
    DeviceDetached,
    Event,
    MediaMounted,
    ProcessStarted,
    SoftwareInstalled,
    SoftwareRemoved,
)
from tests.policies.releases import BUNDLE, DAY_US, FROM, RULES, UNTIL, WEDNESDAY_NOON_US, changed, permit

NOW = WEDNESDAY_NOON_US
DIGEST = "abcdef0123456789" * 4
COMPILED = CompiledBundle(BUNDLE, DIGEST)
PC1, PC2, STRANGER = (PolicyView.of(COMPILED, name) for name in ("pc1", "pc2", "stranger"))


def device(**fields: Any) -> DeviceAttached:
    return DeviceAttached(time_us=NOW, **fields)


def opened(ip: str, port: int = 443, protocol: str = "tcp", **fields: Any) -> ConnectionOpened:
    return ConnectionOpened(time_us=NOW, dest_ip=ip, dest_port=port, protocol=protocol, **fields)


def test_a_view_says_what_is_in_force() -> None:
    assert (PC1.generation, PC1.digest, PC1.tag) == (12, DIGEST, "12:abcdef012345")
    assert (PC1.zone.name, PC1.section) == ("internet", "tax")
    assert PC1.rule("unknown_device") in RULES
    assert (STRANGER.zone.name, STRANGER.section, STRANGER.zone.allow) == ("quarantine", "", ())
    with pytest.raises(KeyError):
        PC1.rule("nothing")
    assert PC1.relevant("device.attached")
    assert not PC1.relevant("software.removed")


def test_settings_resolve_by_zone_then_star_then_observe() -> None:
    assert PC2.setting("devices") == Setting("enforce", "closed")
    assert PC1.setting("devices") == Setting("enforce", "open")
    assert PC1.setting("media") == Setting("observe", "open")
    assert PC1.setting("execution") == Setting()


S1 = {"vendor_id": "0781", "product_id": "5581", "serial": "S1"}
THINGS: list[tuple[PolicyView, Event, str, str, str, bool]] = [
    (PC1, device(device_class="storage", **S1), "granted", "stick", "unknown", False),
    (PC1, device(device_class="storage", serial="S1"), "none", "", "unknown", False),
    (PC1, device(device_class="storage", device_id="CITY1", vendor_id="1111", product_id="2222", serial="c1"), "", "", "city", False),
    (PC1, device(device_class="phone", **S1), "not_permittable", "", "unknown", False),
    (PC1, device(device_class="input"), "", "", "unknown", False),
    (PC1, device(device_class="hub"), "", "", "unknown", False),
    (PC1, device(device_class="badusb"), "none", "", "unknown", False),
    (PC1, device(), "none", "", "unknown", False),
    (PC1, DeviceDetached(time_us=NOW, device_class="storage"), "", "", "unknown", False),
    (PC1, MediaMounted(time_us=NOW, serial="S1"), "granted", "medium", "unknown", False),
    (PC2, MediaMounted(time_us=NOW, serial="S1"), "granted", "medium", "unknown", True),
    (PC1, MediaMounted(time_us=NOW, fs_uuid="u2"), "granted", "readable", "unknown", True),
    (PC1, MediaMounted(time_us=NOW, media_id="cityM"), "", "", "city", False),
    (PC2, MediaMounted(time_us=NOW, media_id="cityM"), "", "", "city", True),
    (PC1, MediaMounted(time_us=NOW, serial="C1"), "", "", "city", False),
    (PC1, MediaMounted(time_us=NOW), "none", "", "unknown", False),
    (PC1, SoftwareInstalled(time_us=NOW, source="dpkg", name="vim"), "granted", "", "", False),
    (PC1, SoftwareInstalled(time_us=NOW, source="pip", name="flask"), "none", "", "", False),
    (PC1, SoftwareInstalled(time_us=NOW, source="user_place", name="/home/a", digest="AB" * 32), "granted", "tool", "", False),
    (PC2, SoftwareInstalled(time_us=NOW, source="user_place", name="/home/a", digest="ab" * 32), "none", "", "", False),
    (PC1, SoftwareRemoved(time_us=NOW, source="pip", name="flask"), "", "", "", False),
    (PC1, ProcessStarted(time_us=NOW, package="coreutils"), "granted", "", "", False),
    (PC1, ProcessStarted(time_us=NOW, digest="cd" * 32), "granted", "", "", False),
    (PC1, ProcessStarted(time_us=NOW, target="/tmp/x"), "none", "", "", False),
    (PC1, AgentDropped(time_us=NOW), "", "", "", False),
]  # fmt: skip


@pytest.mark.parametrize("case", THINGS)
def test_permit_and_asset(case: tuple[PolicyView, Event, str, str, str, bool]) -> None:
    view, event, *wanted = case
    found = view.enrich(event, NOW)
    assert [found.permit, found.permit_id, found.asset, found.read_only] == wanted
    assert (found.zone, found.section, found.office_hours) == (view.zone.name, view.section, True)


DESTINATIONS = [
    (PC1, opened("10.2.0.9"), "granted", "", "internet"),
    (PC1, opened("::ffff:10.2.0.9"), "granted", "", "internet"),
    (PC1, opened("10.2.0.9", 80), "none", "", "internet"),
    (PC1, opened("10.2.0.9", protocol="udp"), "none", "", "internet"),
    (PC1, opened("10.2.9.1", 9, "udp"), "granted", "", "internet"),
    (PC1, opened("fd00:2::5", 128, "icmpv6"), "granted", "", "internet"),
    (PC1, opened("10.1.0.5"), "none", "", "mynumber"),
    (PC1, opened("10.2.77.5"), "none", "", "mynumber"),
    (PC1, opened("203.0.113.9", user="sato"), "granted", "web", "outside"),
    (PC1, opened("203.0.113.9", user="ito"), "none", "", "outside"),
    (PC1, opened("203.0.113.9"), "none", "", "outside"),
    (PC1, opened("198.51.100.7", 123, "udp"), "granted", "time", "outside"),
    (PC2, opened("198.51.100.7", 123, "udp"), "none", "", "outside"),
    (STRANGER, opened("10.2.0.9"), "none", "", "internet"),
    (PC1, opened("127.0.0.1"), "", "", "local"),
    (PC1, opened("ff02::1:2", 547, "udp"), "", "", "local"),
    (PC1, opened("junk"), "none", "", "unknown"),
    (PC1, opened(""), "none", "", "unknown"),
    (PC1, opened("10.2.0.9", 80, direction="in"), "", "", "internet"),
]


@pytest.mark.parametrize(("view", "event", "state", "by", "zone"), DESTINATIONS)
def test_destinations_of_events(view: PolicyView, event: Event, state: str, by: str, zone: str) -> None:
    found = view.enrich(event, NOW)
    assert (found.permit, found.permit_id, found.dest_zone) == (state, by, zone)


def test_a_permit_ends_also_for_what_was_looked_up_before() -> None:
    event = device(device_class="storage", **S1)
    states = [PC1.enrich(event, moment).permit for moment in (NOW, UNTIL - 1, UNTIL, FROM - 1, FROM, NOW)]
    assert states == ["granted", "granted", "expired", "none", "granted", "granted"]
    assert PC1.next_change_us(NOW) == UNTIL
    assert PC1.next_change_us(UNTIL) is None


def test_where_a_pc_may_connect_now() -> None:
    own = [(to, ()) for to in BUNDLE.zones[0].allow]
    web = (Destination("203.0.113.0/24", 443, "tcp"), ("sato",))
    time = (Destination("198.51.100.7", 123, "udp"), ())
    assert PC1.destinations(NOW) == [*own, web, time]
    assert PC1.destinations(UNTIL) == own
    assert PC2.destinations(NOW) == [web]


def test_what_covers_software() -> None:
    assert PC1.covers_software("dpkg", "vim", "", NOW) == SoftwareAllow("dpkg", "*")
    assert PC1.covers_software("", "", "cd" * 32, NOW) == SoftwareAllow(digest="cd" * 32)
    assert PC1.covers_software("pip", "flask", "", NOW) is None
    found = PC1.covers_software("", "", "ab" * 32, NOW)
    assert isinstance(found, Permit)
    assert found.id == "tool"
    assert PC1.covers_software("", "", "ab" * 32, UNTIL) is None
    assert PC2.covers_software("", "", "ab" * 32, NOW) is None


MINUTE_US = 60_000_000
NOON_TO = {"open": -3 * 60 - 30, "close": 5 * 60 + 15}


@pytest.mark.parametrize(
    ("offset_us", "inside"),
    [
        (0, True),
        (NOON_TO["open"] * MINUTE_US, True),
        (NOON_TO["open"] * MINUTE_US - 1, False),
        (NOON_TO["close"] * MINUTE_US - 1, True),
        (NOON_TO["close"] * MINUTE_US, False),
        (2 * DAY_US, True),
        (3 * DAY_US, False),
        (4 * DAY_US, False),
        (5 * DAY_US, True),
    ],
)
def test_office_hours(offset_us: int, inside: bool) -> None:
    event = DeviceAttached(time_us=NOW + offset_us)
    assert PC1.enrich(event, NOW).office_hours is inside


@given(st.integers(-(10**15), 4 * 10**15))
def test_the_answer_about_office_hours_holds_for_its_whole_span(time_us: int) -> None:
    starts, ends, inside = office_span(time_us)
    assert starts <= time_us < ends
    assert office_span(starts)[2] == office_span(ends - 1)[2] == inside


addresses = st.sampled_from(
    ["10.2.0.9", "10.1.0.5", "203.0.113.9", "198.51.100.7", "127.0.0.1", "junk", "fd00:2::1"]
)
some_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        DeviceAttached,
        time_us=st.integers(NOW - 7 * DAY_US, NOW + 7 * DAY_US),
        device_class=st.sampled_from(["storage", "phone", "input", "badusb", ""]),
        vendor_id=st.sampled_from(["0781", "1111"]),
        product_id=st.sampled_from(["5581", "2222"]),
        serial=st.sampled_from(["S1", "C1", ""]),
    ),
    st.builds(
        ConnectionBlocked,
        time_us=st.just(NOW),
        dest_ip=addresses,
        dest_port=st.sampled_from([123, 443]),
        protocol=st.sampled_from(["tcp", "udp"]),
        user=st.sampled_from(["sato", "ito", ""]),
        action=st.sampled_from(["blocked", "failed"]),
    ),
    st.builds(
        ProcessStarted, time_us=st.just(NOW), package=st.sampled_from(["", "vim"]), on_media=st.booleans()
    ),
    st.builds(AgentDropped, time_us=st.just(NOW)),
    st.builds(DeviceDetached, time_us=st.just(NOW)),
)
moments = st.sampled_from([FROM - 1, FROM, NOW, UNTIL - 1, UNTIL])


@given(st.lists(st.tuples(st.sampled_from(["pc1", "pc2", "pc3"]), some_events, moments), max_size=12))
def test_what_is_remembered_is_what_a_fresh_look_finds(rounds: list[tuple[str, Event, int]]) -> None:
    for agent, event, now_us in rounds:
        remembering = PolicyView.of(COMPILED, agent)
        fresh = PolicyView(BUNDLE, DIGEST, agent)
        enrichment = remembering.enrich(event, now_us)
        assert enrichment == fresh.enrich(event, now_us)
        assert remembering.detect(event, now_us) == fresh.match(event, enrichment)


kinds_of_subject = st.builds(
    Subject,
    vendor_id=st.sampled_from(["", "a"]),
    product_id=st.sampled_from(["", "a"]),
    serial=st.sampled_from(["", "a", "B"]),
    device_id=st.sampled_from(["", "a", "b"]),
)
scopes = st.sampled_from(
    [Scope(), Scope(agents=("pc1",)), Scope(sections=("juki",)), Scope(zones=("mynumber",))]
)


@given(
    st.lists(st.tuples(kinds_of_subject, scopes), max_size=4),
    kinds_of_subject,
    st.sampled_from(["pc1", "pc2", "x"]),
    moments,
)
def test_look_up_by_index_is_trying_each_permit(
    subjects: list[tuple[Subject, Scope]], seen: Subject, agent: str, now_us: int
) -> None:
    permits = tuple(
        permit(
            f"p{number}",
            "device",
            scope,
            **{name: getattr(subject, name) for name in subject.__struct_fields__},
        )
        for number, (subject, scope) in enumerate(subjects)
    )
    view = PolicyView(changed(permits=permits, devices=()), DIGEST, agent)
    fields = {name: getattr(seen, name) for name in ("device_id", "vendor_id", "product_id", "serial")}
    found = view.enrich(DeviceAttached(time_us=NOW, device_class="storage", **fields), now_us)
    state, by = find(permits, "device", seen, Where(agent, view.section, view.zone.name), now_us)
    assert (found.permit, found.permit_id) == (state, by.id if by else "")


def test_rules_fire_like_the_article_reads() -> None:
    def fired(view: PolicyView, event: Event) -> list[str]:
        return [hit.rule.id for hit in view.detect(event, NOW)]

    assert fired(PC1, device(device_class="storage", serial="other")) == ["unknown_device"]
    assert fired(PC1, device(device_class="storage", **S1)) == []
    assert fired(PC1, device(device_class="input")) == []
    assert fired(PC1, device(device_class="badusb")) == ["badusb_device"]
    assert fired(PC1, device(device_class="phone")) == ["not_permittable_device"]
    assert fired(PC1, MediaMounted(time_us=NOW)) == ["unknown_medium"]
    assert fired(PC1, opened("203.0.113.9")) == ["external_connection"]
    assert fired(PC1, opened("10.1.0.5")) == ["connection_into_mynumber"]
    assert fired(STRANGER, opened("10.2.0.9")) == ["internal_connection"]
    assert fired(PC1, opened("10.2.0.9")) == []
    assert fired(PC1, ProcessStarted(time_us=NOW, target="/tmp/x")) == ["unapproved_program"]
    assert fired(PC1, ProcessStarted(time_us=NOW, target="/media/x", on_media=True)) == [
        "execution_from_media"
    ]
    assert fired(PC1, AgentDropped(time_us=NOW)) == ["access_log_gap"]
    assert fired(PC1, DeviceDetached(time_us=NOW)) == []


def test_memory_is_bounded() -> None:
    compiled = CompiledBundle(BUNDLE, DIGEST)
    view = PolicyView.of(compiled, "pc1")
    for number in range(20_000):
        view.enrich(DeviceAttached(time_us=NOW, device_class="storage", serial=str(number)), NOW)
    assert len(compiled._memory) <= 8192
