"""A small policy release that the tests of bundle, enrichment and view share."""

from typing import Any

from msgspec.structs import replace

from policies.model import (
    Assignment,
    Bundle,
    Citation,
    Destination,
    Permit,
    PermitKind,
    Scope,
    Setting,
    SoftwareAllow,
    Subject,
    Zone,
)
from policies.shipped import load_shipped

ORDINANCES, RULES = load_shipped()
ARTICLE = Citation("nagoya", "第35条第4号", "2016-04-01")
WEDNESDAY_NOON_US = 1_764_126_000_000_000
"""2025-11-26 12:00 in Tokyo."""
DAY_US = 86_400_000_000
FROM, UNTIL = WEDNESDAY_NOON_US - DAY_US, WEDNESDAY_NOON_US + DAY_US


def permit(
    id: str, kind: PermitKind, scope: Scope | None = None, *, read_only: bool = False, **subject: Any
) -> Permit:
    return Permit(
        id=id, kind=kind, subject=Subject(**subject), scope=scope or Scope(), from_us=FROM, until_us=UNTIL,
        article=ARTICLE, read_only=read_only,
    )  # fmt: skip


ZONES = (
    Zone(
        name="internet",
        title_ja="インターネット接続系",
        title_en="Internet",
        networks=("10.2.0.0/16", "fd00:2::/32"),
        allow=(
            Destination("10.2.0.0/24", 443, "tcp"),
            Destination("10.2.9.0/24"),
            Destination("fd00:2::/32", 0, "icmp"),
        ),
    ),
    Zone(
        name="mynumber",
        title_ja="個人番号利用事務系",
        title_en="My Number",
        networks=("10.1.0.0/16", "10.2.77.0/24"),
    ),
)
BUNDLE = Bundle(
    city="nagoya",
    generation=12,
    issued_us=FROM,
    expires_us=WEDNESDAY_NOON_US + 90 * DAY_US,
    ordinances=("baseline", "nagoya"),
    rules=RULES,
    permits=(
        permit("stick", "device", vendor_id="0781", product_id="5581", serial="S1"),
        permit("medium", "medium", serial="S1"),
        permit("readable", "medium", read_only=True, fs_uuid="U2"),
        permit("tool", "software", Scope(sections=("tax",)), digest="ab" * 32),
        permit(
            "web", "destination", Scope(users=("sato",)), network="203.0.113.0/24", port=443, protocol="tcp"
        ),
        permit(
            "time", "destination", Scope(agents=("pc1",)), network="198.51.100.7", port=123, protocol="udp"
        ),
    ),
    zones=ZONES,
    settings={
        "devices": {"mynumber": Setting("enforce", "closed"), "*": Setting("enforce", "open")},
        "media": {"mynumber": Setting("enforce", "closed")},
    },
    software=(SoftwareAllow("dpkg", "*"), SoftwareAllow("pip", "requests"), SoftwareAllow(digest="cd" * 32)),
    devices=(
        Subject(device_id="city1", vendor_id="1111", product_id="2222", serial="C1"),
        Subject(media_id="cityM"),
    ),
    not_permittable=("phone", "network"),
    media_read_only=("mynumber",),
    assignments={"pc1": Assignment("internet", "tax"), "pc2": Assignment("mynumber", "juki")},
    unassigned=Assignment("quarantine"),
)


def changed(**changes: Any) -> Bundle:
    return replace(BUNDLE, **changes)
