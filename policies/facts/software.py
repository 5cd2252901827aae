"""Software that is there and programs that run: what allows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policies.facts.base import Facts, permit_facts
from policies.model import Subject

if TYPE_CHECKING:
    from policies.enrich import CompiledBundle, Place


def _software(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    seen = Subject(source=event.source, package=event.name, digest=event.digest)
    return permit_facts(*release.software(seen, place.where(), now_us)) | _listed(release, event)


def _process(release: CompiledBundle, event: Any, place: Place, now_us: int) -> dict[str, Any]:
    seen = Subject(package=event.package, digest=event.digest)
    return permit_facts(*release.software(seen, place.where(event.user), now_us)) | _listed(release, event)


def _listed(release: CompiledBundle, event: Any) -> dict[str, Any]:
    if release.centre is None or not event.digest:
        return {}
    return {"indicator": release.centre.indicator_of((event.digest,))}


_SOFTWARE, _PROCESS = ("source", "name", "digest"), ("package", "digest", "user")

FACTS = {
    "software.installed": Facts(_SOFTWARE, _software),
    "software.changed": Facts(_SOFTWARE, _software),
    "process.started": Facts(_PROCESS, _process),
    "process.denied": Facts(_PROCESS, _process),
}
