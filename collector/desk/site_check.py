"""What types cannot say of a site file: networks, zones that exist, nothing twice, nothing against itself or the law.

Pure. A wrong is (path such as ``$.zones[0].name``, what, hint).
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from ipaddress import IPv4Address, IPv6Address

from collector.desk.site import Law, Site
from collector.desk.site_law import against_ordinances
from collector.desk.site_parts import EVERY_ZONE, SitePlace, SiteZone
from collector.desk.site_read import near

Wrong = tuple[str, str, str]
_ANYWHERE = {"0.0.0.0/0", "::/0"}
_DNS = 53


def wrongs(site: Site, ordinances: Law) -> Iterator[Wrong]:
    """Everything wrong, in the order of the file's keys."""
    known = {*(zone.name for zone in site.zones), site.unassigned_zone, EVERY_ZONE}
    yield from _twice("zones", "name", (zone.name for zone in site.zones), "zone")
    for index, zone in enumerate(site.zones):
        yield from _zone(f"$.zones[{index}]", zone)
    yield from _settings(site, known)
    for index, name in enumerate(site.media_read_only):
        if name not in known:
            yield f"$.media_read_only[{index}]", f"zone `{name}` is not defined", _zone_hint(name, known)
    for index, entry in enumerate(site.software):
        if not entry.digest and not (entry.source and entry.package):
            hint = 'e.g. {source: dpkg, package: "*"}'
            yield f"$.software[{index}]", "an entry names source and package, or a digest", hint
    yield from _places(site)
    yield from _labels(site)
    yield from _accounts(site)
    yield from against_ordinances(site, ordinances)


def _twice(part: str, key: str, names: Iterable[str], what: str) -> Iterator[Wrong]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield f"$.{part}[{index}].{key}", f"{what} `{name}` stands here twice", ""
        seen.add(name)


def _zone_hint(name: str, known: set[str]) -> str:
    return near(name, known, "zones: " + ", ".join(sorted(known)))


def _zone(path: str, zone: SiteZone) -> Iterator[Wrong]:
    texts = [(f"{path}.networks[{i}]", text) for i, text in enumerate(zone.networks)]
    texts += [(f"{path}.allow[{i}].network", allow.network) for i, allow in enumerate(zone.allow)]
    networks = [(where, _network_problem(text)) for where, text in texts]
    yield from ((where, bad, "CIDR such as 10.1.0.0/16 or fd00::/8") for where, bad in networks if bad)
    sound = not any(bad for _where, bad in networks)
    for key in ("gateways", "resolvers"):
        for index, text in enumerate(getattr(zone, key)):
            where = f"{path}.{key}[{index}]"
            try:
                address = ipaddress.ip_address("" if "%" in text else text)
            except ValueError:
                yield where, f"`{text}` is not an address", "an address such as 10.1.0.1"
                continue
            known = address.is_link_local or not zone.networks or (sound and _within(address, zone.networks))
            if sound and key == "gateways" and not known:
                yield where, f"gateway {text} lies in no network of zone `{zone.name}`", "add its network"
            if sound and key == "resolvers" and zone.allow and not _may_ask(address, zone):
                hint = f"allow: - {{network: {text}/{address.max_prefixlen}, port: 53}}"
                yield where, f"PCs of zone `{zone.name}` may not reach its name server {text}", hint


def _within(address: IPv4Address | IPv6Address, networks: Iterable[str]) -> bool:
    return any(address in ipaddress.ip_network(text) for text in networks)


def _may_ask(address: IPv4Address | IPv6Address, zone: SiteZone) -> bool:
    return any(_within(address, [allow.network]) for allow in zone.allow if allow.port in {0, _DNS})


def _network_problem(text: str) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        return f"`{text}`: {error}"
    return "" if network.prefixlen or text in _ANYWHERE else f"`{text}` is every address"


def _settings(site: Site, known: set[str]) -> Iterator[Wrong]:
    places: set[tuple[str, str]] = set()
    for index, setting in enumerate(site.settings):
        path = f"$.settings[{index}]"
        if setting.zone not in known:
            yield path, f"zone `{setting.zone}` is not defined", _zone_hint(setting.zone, known)
        if (setting.control, setting.zone) in places:
            yield path, f"{setting.control} in zone `{setting.zone}` is set twice", ""
        places.add((setting.control, setting.zone))


def _places(site: Site) -> Iterator[Wrong]:
    yield from _twice("places", "name", (place.name for place in site.places), "place")
    yield from _twice("places", "path", (posixpath.normpath(place.path) for place in site.places), "path")
    kinds = {account.user: account.kind for account in site.accounts}
    for index, place in enumerate(site.places):
        path = f"$.places[{index}]"
        if wrong := _path_problem(place):
            yield f"{path}.path", wrong, "a directory such as /srv/juki"
        for at, user in enumerate(place.handlers):
            if kinds.get(user) in {"shared", "service"}:
                what = f"`{user}` is a {kinds[user]} account: a handler is one person"
                yield f"{path}.handlers[{at}]", what, "name the people who use it"


def _path_problem(place: SitePlace) -> str:
    if not place.path.startswith("/"):
        return f"`{place.path}` is not absolute"
    if place.path.rstrip("/") != posixpath.normpath(place.path).rstrip("/"):
        return f"`{place.path}` has . or .. or // in it"
    return "" if posixpath.normpath(place.path) != "/" else "the whole system is not a confidential place"


def _labels(site: Site) -> Iterator[Wrong]:
    yield from _twice("labels", "name", (label.name for label in site.labels), "label")
    owners: dict[str, str] = {}
    for index, label in enumerate(site.labels):
        for at, mark in enumerate(label.marks):
            owner = owners.setdefault(mark, label.name)
            if owner != label.name:
                path = f"$.labels[{index}].marks[{at}]"
                yield path, f"mark `{mark}` already shows label `{owner}`", "one mark, one label"
            if not mark.strip():
                yield f"$.labels[{index}].marks[{at}]", "a mark of blanks is in every document", ""


def _accounts(site: Site) -> Iterator[Wrong]:
    yield from _twice("accounts", "user", (account.user for account in site.accounts), "account")
    for index, account in enumerate(site.accounts):
        path = f"$.accounts[{index}]"
        if account.kind == "contractor" and account.until is None:
            yield (
                path,
                f"contractor `{account.user}` has no end",
                "until: 2027-03-31 (the contract's last day)",
            )
        if account.kind != "contractor" and (account.contract or account.until):
            yield path, f"a {account.kind} account has no contract", "kind: contractor"
        if account.until and not _day(account.until):
            yield f"{path}.until", f"no such date: {account.until}", "a day as 2027-03-31"


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date() if text < "9999" else None  # noqa: DTZ007 - a day
    except ValueError:
        return None
