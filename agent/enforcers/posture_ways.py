"""Where a PC without protection may still connect: inside the city, and where the article's own office let it. Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from policies.model import Destination, Permit
from policies.permits import Where, in_scope
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from policies.view import PolicyView

EVERYWHERE = (Destination("0.0.0.0/0"), Destination("::/0"))
_LINK = ("169.254.0.0/16", "fe80::/10", "224.0.0.0/24", "ff02::/16")
"""What never leaves the PC's own link (RFC 6890, RFC 5771 §4, RFC 4291 §2.7)."""


def kept_ways(policy: PolicyView, now_us: int) -> list[Destination]:
    """All that is not outside for this PC now. Raises RefusedError ``bad_value`` where that cannot be told."""
    networks = [text for zone in policy.bundle.zones for text in zone.networks]
    if not networks:
        raise RefusedError(
            "bad_value",
            "no zone of the policy names its networks: all would be outside",
            "zones: networks of policy.yaml",
        )
    served = (*policy.zone.gateways, *policy.zone.resolvers)
    private = [one for one in served if ipaddress.ip_address(one).is_private]
    inside = [Destination(text) for text in dict.fromkeys((*networks, *private, *_LINK))]
    return inside + _permitted(policy, now_us)


def _permitted(policy: PolicyView, now_us: int) -> list[Destination]:
    """Destinations permitted by an article that the cut itself serves, to whole PCs and by address."""
    articles = {
        (one.ordinance, one.article)
        for rule in policy.bundle.rules
        if rule.family == "posture" and rule.effect == "block"
        for one in rule.citations
    }
    where = Where(policy.agent_id, policy.section, policy.zone.name, "")
    return [
        _destination(permit)
        for permit in policy.bundle.permits
        if permit.kind == "destination"
        and (permit.article.ordinance, permit.article.article) in articles
        and not (permit.subject.name or permit.scope.users)
        and permit.from_us <= now_us < permit.until_us
        and in_scope(permit.scope, where)
    ]


def _destination(permit: Permit) -> Destination:
    to = permit.subject
    return Destination(to.network, to.port, to.protocol or "any")  # type: ignore[arg-type]
