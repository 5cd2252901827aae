"""What a release knows about a link: the zone's word, permits, designated gateways and name servers."""

from __future__ import annotations

from typing import Any

import pytest

from policies.enrich import CompiledBundle
from policies.model import Assignment, Bundle, Citation, Enrichment, Permit, PermitKind, Subject, Zone
from policies.view import PolicyView
from protocol.events import ConnectionOpened, DnsResolved, Event, LinkChanged

NOW = 1_000_000
MAC, BSSID = "00:e0:4c:00:00:01", "02:11:22:33:44:55"


def permit(kind: PermitKind, *, until_us: int = 2 * NOW, **subject: Any) -> Permit:
    return Permit(
        id="P1",
        kind=kind,
        subject=Subject(**subject),
        from_us=0,
        until_us=until_us,
        article=Citation("nagoya", "第43条第2項"),
    )


def known(event: Event, *permits: Permit, **zone: Any) -> Enrichment:
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=2 * NOW,
        ordinances=(),
        rules=(),
        permits=permits,
        zones=(
            Zone(name="z", title_ja="z", title_en="z", networks=("10.1.0.0/16", "fd10:1::/32"), **zone),
            Zone(name="other", title_ja="o", title_en="o", networks=("10.2.0.0/16",)),
        ),
        settings={},
        assignments={"pc": Assignment("z")},
    )
    return PolicyView.of(CompiledBundle(bundle, "0" * 64), "pc").enrich(event, NOW)


def link(change: str, **facts: Any) -> LinkChanged:
    return LinkChanged(time_us=NOW, change=change, **{"interface": "wlan0", "mac": MAC, **facts})


@pytest.mark.parametrize(
    ("word", "state"), [("allowed", "granted"), ("permit", "none"), ("forbidden", "not_permittable")]
)
def test_the_zone_has_the_first_word(word: str, state: str) -> None:
    assert known(link("wireless_up", ssid="guest"), wireless=word).permit == state
    for change in ("second_network", "bridging", "tethering", "vpn_up", "hotspot"):
        assert known(link(change), joint=word).permit == state
    assert known(link("wireless_up"), permit("wireless", ssid=""), wireless=word).permit == state


@pytest.mark.parametrize(
    ("subject", "state"),
    [
        ({"ssid": "city"}, "granted"),
        ({"ssid": "CITY"}, "granted"),
        ({"mac": BSSID}, "granted"),
        ({"mac": MAC}, "granted"),
        ({"ssid": "city", "mac": BSSID}, "granted"),
        ({"ssid": "city", "mac": "02:00:00:00:00:99"}, "none"),
        ({"ssid": "guest"}, "none"),
        ({"ssid": "city", "until_us": NOW}, "expired"),
    ],
)
def test_wireless_permits(subject: dict[str, Any], state: str) -> None:
    event = link("wireless_up", ssid="city", bssid=BSSID)
    assert known(event, permit("wireless", **subject)).permit == state


def test_no_permit_is_found_for_a_network_without_a_name() -> None:
    assert known(link("wireless_up"), permit("wireless", ssid="city")).permit == "none"


@pytest.mark.parametrize(
    ("subject", "state"),
    [
        ({"mac": MAC.upper()}, "granted"),
        ({"network": "192.168.0.0/16"}, "granted"),
        ({"network": "192.168.7.0/24", "mac": MAC}, "granted"),
        ({"network": "192.168.8.0/24"}, "none"),
        ({"network": "no network"}, "none"),
        ({"mac": BSSID}, "none"),
        ({"network": "192.168.0.0/16", "until_us": 5}, "expired"),
    ],
)
def test_joint_permits(subject: dict[str, Any], state: str) -> None:
    event = link("second_network", addresses=("192.168.7.5/24",))
    assert known(event, permit("joint", **subject)).permit == state


def test_a_second_way_into_the_own_zone_joins_nothing() -> None:
    own = ("10.1.3.4/24", "fd10:1::7/64")
    assert known(link("second_network", addresses=own)).permit == "granted"
    assert known(link("second_network", addresses=(*own, "10.2.0.1/24"))).permit == "none"
    assert known(link("second_network")).permit == "none"
    assert known(link("bridging", addresses=own)).permit == "none"


def test_designated_gateways() -> None:
    gateways = ("10.1.0.1", "fd10:1::1")
    for seen, says in (("10.1.0.1", "yes"), ("fd10:1:0::1", "yes"), ("10.1.0.66", "no"), ("dev wg0", "no")):
        found = known(link("gateway", gateway=seen), gateways=gateways)
        assert (found.designated, found.permit) == (says, "none" if says == "no" else "")
    assert known(link("gateway", gateway="10.1.0.66")).designated == ""
    assert known(link("gateway", gateway="", previous="10.1.0.1"), gateways=gateways).designated == ""
    allowed = known(
        link("gateway", gateway="10.9.0.1"), permit("joint", network="10.9.0.0/24"), gateways=gateways
    )
    assert (allowed.designated, allowed.permit, allowed.permit_id) == ("no", "granted", "P1")


def test_designated_name_servers() -> None:
    own = ("10.1.0.53", "10.1.1.53")
    for seen, says in ((own, "yes"), (own[:1], "yes"), ((*own, "9.9.9.9"), "no"), ((), "")):
        assert known(link("resolver", resolvers=seen), resolvers=own).designated == says
    assert known(DnsResolved(time_us=NOW, server="9.9.9.9"), resolvers=own).designated == "no"
    assert known(DnsResolved(time_us=NOW, server="10.1.0.53"), resolvers=own).designated == "yes"
    assert known(DnsResolved(time_us=NOW, server="10.1.0.53")).designated == ""
    for port, says in ((53, "no"), (853, "no"), (443, "")):
        event = ConnectionOpened(time_us=NOW, dest_ip="9.9.9.9", dest_port=port, protocol="tcp")
        assert known(event, resolvers=own).designated == says


def test_links_that_simply_come_and_go_need_no_permit() -> None:
    for change in ("up", "down", "wireless_down", "single_network", "vpn_down"):
        found = known(link(change), wireless="forbidden", joint="forbidden")
        assert (found.permit, found.designated) == ("", "")
