"""What the uplink tells the main thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from protocol.signed import Signed
from protocol.trust import TrustRoot

if TYPE_CHECKING:
    from policies.view import PolicyView


class LinkChanged(Struct, frozen=True):
    """The collector answers, or does not any more."""

    up: bool
    why: str = ""


class PolicyArrived(Struct, frozen=True):
    """A verified bundle, ready for use."""

    view: PolicyView
    document: Signed


class OrderArrived(Struct, frozen=True):
    """An order, not verified yet: that is the isolation enforcer's."""

    document: Signed


class TrustChanged(Struct, frozen=True):
    """A new trust root was verified and kept."""

    root: TrustRoot


class Refused(Struct, frozen=True):
    """Something was refused by name: ``what`` is frame | policy | trust | data | control | spool."""

    what: str
    name: str
    detail: str
    generation: int = 0


class DutyTold(Struct, frozen=True):
    """Which segments this PC is to watch from now on."""

    segments: tuple[str, ...]


class DataFlows(Struct, frozen=True):
    """The collector takes events again."""


Report = LinkChanged | PolicyArrived | OrderArrived | TrustChanged | Refused | DutyTold | DataFlows
