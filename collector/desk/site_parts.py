"""The parts of the site file: what each key may hold. Structures only; what contradicts what stands in ``site_check``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from policies.model import Control, FailMode, Grade, Mode
from policies.model import Level as Severity
from policies.ordinance import Level
from policies.ordinance_parts import Admission, Day, Role, Years

EVERY_ZONE = "*"
ZoneName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Short = Annotated[str, Meta(min_length=1, max_length=64)]
Word = Annotated[str, Meta(min_length=1, max_length=256)]


class Titles(Struct, frozen=True, forbid_unknown_fields=True):
    """A name in both languages."""

    ja: Word
    en: Word


class Allow(Struct, frozen=True, forbid_unknown_fields=True):
    """Where PCs of a zone may connect: CIDR, port (0 = any), protocol tcp | udp | icmp | any."""

    network: Annotated[str, Meta(max_length=64)]
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    protocol: Annotated[str, Meta(pattern="^(tcp|udp|icmp|any)$")] = "any"


class SiteZone(Struct, frozen=True, forbid_unknown_fields=True):
    """A network zone of the city. ``gateways`` and ``resolvers`` are addresses; none = any."""

    name: ZoneName
    title: Titles
    networks: tuple[Annotated[str, Meta(max_length=64)], ...] = ()
    allow: tuple[Allow, ...] = ()
    gateways: tuple[Short, ...] = ()
    resolvers: tuple[Short, ...] = ()
    wireless: Admission = "permit"
    joint: Admission = "permit"
    """A second network at once, a bridge, a VPN."""


class SiteSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """How one control runs in one zone (``*`` = every other zone)."""

    control: Control
    mode: Mode
    zone: Annotated[str, Meta(max_length=64)] = EVERY_ZONE
    fail: FailMode = "open"


class Software(Struct, frozen=True, forbid_unknown_fields=True):
    """Software that may be there and run: ``package`` of ``source`` (``*`` = all of it), or a SHA-256 ``digest``."""

    source: Annotated[str, Meta(pattern="^(dpkg|rpm|pip|npm|user_place|)$")] = ""
    package: Annotated[str, Meta(max_length=256)] = ""
    digest: Annotated[str, Meta(pattern="^([0-9a-f]{64}|)$")] = ""


class SiteGrade(Grade, frozen=True, forbid_unknown_fields=True):
    """Confidentiality, integrity, availability, 1 (low) to 3 (high)."""


class SitePlace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A confidential place: a directory whose use is recorded. ``handlers`` are login names; none = nobody is named."""

    name: ZoneName
    title: Titles
    path: Annotated[str, Meta(min_length=1, max_length=256)]
    handlers: tuple[Word, ...] = ()
    sections: tuple[Word, ...] = ()
    """Sections whose PCs have it; none = all."""
    grade: SiteGrade = SiteGrade(3, 2, 2)


class SiteLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """A confidentiality label and the marks that show it in a document."""

    name: Word
    marks: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=64)]


class SiteAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account that is not simply one member of staff. ``until`` is the contract's last day."""

    user: Word
    kind: Literal["shared", "contractor", "service"]
    section: Annotated[str, Meta(max_length=256)] = ""
    contract: Annotated[str, Meta(max_length=256)] = ""
    until: Day | None = None


class SiteArticle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the city sets otherwise than an article's file. What loosens needs ``ground``, which is kept and shown."""

    ordinance: Word
    article: Word
    ground: Annotated[str, Meta(max_length=400)] = ""
    severity: Severity | None = None
    levels: tuple[Level, ...] | None = None
    permit_by: tuple[Role, ...] | None = None
    permittable: bool | None = None
    retention_years: Years | None = None
    report_to: tuple[Role, ...] | None = None
    order_by: tuple[Role, ...] | None = None

    def changes(self) -> dict[str, Any]:
        """What it sets, by field of ``policies.ordinance.Article``."""
        named = {"ordinance", "article", "ground"}
        fields = (name for name in self.__struct_fields__ if name not in named)
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}
