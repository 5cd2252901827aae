"""Going back: the content of an older release under a new generation.

Rules, zones, settings and everything else that the site file and the program decided come from the old release. What
the registers say comes from today: permits, contracts, the city's devices, where PCs belong, and software and
destinations that were approved or taken back since. Otherwise going back would give a revoked permit back.
"""

from __future__ import annotations

from msgspec.structs import replace

from collector.desk.draft import DAY_US, Sources
from policies.bundle import contradiction
from policies.model import Account, Bundle, Zone
from protocol.refusal import RefusedError


def rebuild(old: Bundle, sources: Sources, generation: int, now_us: int) -> Bundle:
    """The bundle of ``old`` with the registers of today; pure. Raises RefusedError ``bad_value`` by contradiction."""
    lapsed = set(sources.lapsed_software)
    kept = [
        entry for entry in old.software if entry not in lapsed or entry in sources.site.allowed_software()
    ]
    bundle = replace(
        old,
        city=sources.city,
        generation=generation,
        issued_us=now_us,
        expires_us=now_us + sources.site.valid_days * DAY_US,
        permits=tuple(sorted(sources.permits, key=lambda permit: permit.id)),
        devices=sources.devices,
        assignments=dict(sorted(sources.assignments.items())),
        software=tuple(dict.fromkeys([*kept, *sources.software])),
        zones=tuple(_zone(zone, sources) for zone in old.zones),
        accounts=_accounts(old, sources),
    )
    if wrong := contradiction(bundle) or _homeless(bundle):
        raise RefusedError(
            "bad_value",
            f"generation {old.generation} does not fit the registers of today: {wrong}",
            "assign these PCs to another zone, or mend policy.yaml and release anew",
        )
    return bundle


def _zone(zone: Zone, sources: Sources) -> Zone:
    lapsed = set(sources.lapsed_destinations.get(zone.name, ()))
    kept = [to for to in zone.allow if to not in lapsed]
    return replace(zone, allow=tuple(dict.fromkeys([*kept, *sources.destinations.get(zone.name, ())])))


def _accounts(old: Bundle, sources: Sources) -> tuple[Account, ...]:
    """Contracts are those of today; what other accounts are is as it was."""
    today = (*sources.site.policy_accounts(), *sources.contractors)
    contracts = {one.user: one for one in today if one.kind == "contractor"}
    others = {one.user: one for one in old.accounts if one.kind != "contractor"}
    return tuple({**others, **contracts}.values())


def _homeless(bundle: Bundle) -> str:
    """PCs that belong to a zone which the old release did not know would be left without any destination."""
    names = {zone.name for zone in bundle.zones} | {bundle.unassigned.zone}
    missing = sorted({place.zone for place in bundle.assignments.values()} - names)
    return f"PCs belong to zones it does not know: {', '.join(missing)}" if missing else ""
