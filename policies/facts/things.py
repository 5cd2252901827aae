"""Devices and media: the city's own, permitted ones, and those no permit can cover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policies.facts.base import Facts, permit_facts
from policies.model import PermitKind, Subject
from policies.permits import FIELDS, pick

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place

NEEDS_NO_PERMIT = frozenset({"input", "hub"})
"""Device classes that are never locked out: without keyboard and mouse nobody can repair anything."""


def _device(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    seen = Subject(**{name: getattr(event, name) for name in FIELDS["device"]})
    known = _owned(release, "device", seen)
    if known["asset"] == "city" or event.device_class in NEEDS_NO_PERMIT:
        return known
    if event.device_class in release.barred:
        return known | {"permit": "not_permittable"}
    state, permit = pick(release.permits["device"].find(seen), place.where(), now_us)
    read_only = state == "granted" and bool(permit and permit.read_only)
    return known | permit_facts(state, permit) | {"read_only": read_only}


def _medium(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    seen = medium_of(event)
    known = _owned(release, "medium", seen)
    forced = place.zone in release.read_only_zones
    if known["asset"] == "city":
        return known | {"read_only": forced}
    state, permit = pick(release.permits["medium"].find(seen), place.where(), now_us)
    read_only = state == "granted" and (forced or bool(permit and permit.read_only))
    return known | permit_facts(state, permit) | {"read_only": read_only}


def _gone_device(release: CompiledBundle, event: Any, _place: Place, _now_us: int) -> dict[str, Any]:
    return _owned(release, "device", Subject(**{name: getattr(event, name) for name in FIELDS["device"]}))


def _gone_medium(release: CompiledBundle, event: Any, place: Place, _now_us: int) -> dict[str, Any]:
    known = _owned(release, "medium", medium_of(event))
    return known | {"read_only": known["asset"] == "city" and place.zone in release.read_only_zones}


def medium_of(event: Any) -> Subject:
    """The medium an event is about."""
    return Subject(media_id=event.media_id, fs_uuid=event.fs_uuid, serial=event.serial)


def _owned(release: CompiledBundle, kind: PermitKind, seen: Subject) -> dict[str, Any]:
    return {"asset": "city" if release.city[kind].find(seen) else "unknown"}


_DEVICE, _MEDIUM = ("device_class", *FIELDS["device"]), FIELDS["medium"]

FACTS = {
    "device.attached": Facts(_DEVICE, _device),
    "device.blocked": Facts(_DEVICE, _device),
    "device.detached": Facts(_DEVICE, _gone_device),
    "media.mounted": Facts(_MEDIUM, _medium),
    "media.blocked": Facts(_MEDIUM, _medium),
    "media.unmounted": Facts(_MEDIUM, _gone_medium),
}
