"""The site file ``data/policy.yaml``: what the city itself decides — zones, modes, places, accounts, its own rigour.

Read as YAML 1.2 (``off`` is a word, not False), each value checked against :class:`Site`. An error names file, line, what
is wrong and what to write instead; all errors of the meaning check come at once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from collector.desk.site_parts import (
    EVERY_ZONE,
    SiteAccount,
    SiteArticle,
    SiteLabel,
    SitePlace,
    SiteSetting,
    SiteZone,
    Software,
    Word,
    ZoneName,
)
from collector.desk.site_read import Complaint, SiteError, line_of, read_document, typed
from collector.fiscal import TOKYO
from policies.model import Account, ConfidentialPlace, Destination, Grade, Label, Setting, SoftwareAllow, Zone
from policies.ordinance import Ordinance
from policies.ordinance_override import Override
from policies.shipped import shipped_ordinances

__all__ = ["EVERY_ZONE", "Complaint", "Site", "SiteError", "line_of", "load_site", "parse_site"]

LARGEST = 4 * 1024 * 1024
"""A site file of 3,000 PCs is some 20 KiB."""
Law = Callable[[], Mapping[str, Ordinance]]
"""Gives the ordinances; called only where the site file speaks of them."""
ListName = Annotated[str, Meta(pattern="^[A-Za-z][A-Za-z0-9_]{0,63}$")]


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole site file."""

    zones: Annotated[tuple[SiteZone, ...], Meta(min_length=1, max_length=64)]
    model: Annotated[str, Meta(max_length=64)] = ""
    """How work is laid over the zones (``alpha`` …, see ``baseline.yaml``); empty = not said, nothing is checked."""
    settings: tuple[SiteSetting, ...] = ()
    software: tuple[Software, ...] = ()
    not_permittable: tuple[Annotated[str, Meta(max_length=64)], ...] = ()
    media_read_only: tuple[ZoneName, ...] = ()
    unassigned_zone: ZoneName = "unassigned"
    rules_off: tuple[Annotated[str, Meta(max_length=256)], ...] = ()
    valid_days: Annotated[int, Meta(ge=1, le=3650)] = 400
    places: Annotated[tuple[SitePlace, ...], Meta(max_length=256)] = ()
    labels: Annotated[tuple[SiteLabel, ...], Meta(max_length=64)] = ()
    accounts: Annotated[tuple[SiteAccount, ...], Meta(max_length=4096)] = ()
    lists: Annotated[
        dict[ListName, Annotated[tuple[Word, ...], Meta(min_length=1)]], Meta(max_length=64)
    ] = {}
    articles: tuple[SiteArticle, ...] = ()

    def policy_zones(self) -> tuple[Zone, ...]:
        """The zones in the bundle's form."""
        return tuple(
            Zone(
                name=zone.name,
                title_ja=zone.title.ja,
                title_en=zone.title.en,
                networks=zone.networks,
                allow=self.destinations(zone),
                gateways=tuple(map(_address, zone.gateways)),
                resolvers=tuple(map(_address, zone.resolvers)),
                wireless=zone.wireless,
                joint=zone.joint,
            )
            for zone in self.zones
        )

    def destinations(self, zone: SiteZone) -> tuple[Destination, ...]:
        """Allowed destinations of ``zone`` in the bundle's form, networks in canonical form."""
        return tuple(Destination(_network(a.network), a.port, a.protocol) for a in zone.allow)  # type: ignore[arg-type]

    def allowed_software(self) -> tuple[SoftwareAllow, ...]:
        """Software list in the bundle's form."""
        return tuple(SoftwareAllow(entry.source, entry.package, entry.digest) for entry in self.software)

    def policy_settings(self) -> dict[str, dict[str, Setting]]:
        """By control, then by zone."""
        table: dict[str, dict[str, Setting]] = {}
        for setting in self.settings:
            table.setdefault(setting.control, {})[setting.zone] = Setting(setting.mode, setting.fail)
        return table

    def confidential_places(self) -> tuple[ConfidentialPlace, ...]:
        """Places in the bundle's form."""
        return tuple(
            ConfidentialPlace(
                name=place.name,
                title_ja=place.title.ja,
                title_en=place.title.en,
                path=place.path,
                handlers=place.handlers,
                sections=place.sections,
                grade=Grade(*msgspec.structs.astuple(place.grade)),
            )
            for place in self.places
        )

    def policy_labels(self) -> tuple[Label, ...]:
        """Labels in the bundle's form."""
        return tuple(Label(label.name, label.marks) for label in self.labels)

    def policy_accounts(self) -> tuple[Account, ...]:
        """Accounts in the bundle's form; a contract's last day counts in full (Asia/Tokyo)."""
        return tuple(
            Account(
                user=account.user,
                kind=account.kind,
                section=account.section,
                contract=account.contract,
                until_us=_end_of(account.until) if account.until else 0,
            )
            for account in self.accounts
        )

    def overrides(self) -> tuple[Override, ...]:
        """What the city sets otherwise than the articles' files."""
        return tuple(Override(one.ordinance, one.article, one.changes(), one.ground) for one in self.articles)


def load_site(path: Path, ordinances: Law | None = None) -> Site:
    """Read and check the site file, against these ordinances or else those of its directory (``collector.desk.law``).

    Raises SiteError; OSError when it cannot be read.
    """
    from collector.desk.law import installed_ordinances  # which needs the site

    if path.stat().st_size > LARGEST:
        raise SiteError([Complaint(path.name, 1, f"larger than {LARGEST} bytes")])
    law = ordinances or partial(installed_ordinances, path.parent)
    return parse_site(path.read_bytes(), path.name, law)


def parse_site(data: bytes, name: str, ordinances: Law = shipped_ordinances) -> Site:
    """Check the bytes of a site file called ``name`` against these ordinances. Raises SiteError."""
    from collector.desk.site_check import wrongs  # which needs Site

    document = read_document(data, name)
    site = typed(document, Site)
    if wrong := [document.complaint(*one) for one in wrongs(site, ordinances)]:
        raise SiteError(wrong)
    return site


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


def _address(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _end_of(day: str) -> int:
    """The first moment after a day, UTC µs."""
    after = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), TOKYO)
    return int(after.timestamp()) * 1_000_000
