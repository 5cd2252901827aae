"""A small policy for device and media tests: whatever has no permit is blocked."""

from typing import Any

from policies.model import (
    Bundle,
    Citation,
    Compare,
    Control,
    FailMode,
    Mode,
    Permit,
    PermitKind,
    Rule,
    Setting,
    Subject,
    Zone,
)
from policies.view import PolicyView
from protocol.events import DeviceAttached

FAR_US = 4_000_000_000_000_000
ARTICLE = Citation("nagoya", "第35条")
STICK = DeviceAttached(
    time_us=1_790_000_000_000_000,
    action="blocked",
    permit="none",
    rules=("device-without-permit",),
    device_id="5f" * 32,
    device_class="storage",
    vendor_id="0951",
    product_id="1666",
    serial="PRIVATE-9999",
    label="Kingston DataTraveler",
)
"""A stick without a permit, as the judge left it."""


def _rule(family: str, control: Control) -> Rule:
    return Rule(
        id=f"{family}-without-permit",
        version="1",
        title_ja="許可のない媒体",
        title_en="no permit",
        family=family,
        control=control,
        effect="block",
        level="high",
        citations=(ARTICLE,),
        predicate=Compare("permit", "eq", ("none", "expired", "not_permittable")),
    )


def permit(kind: PermitKind, *, until_us: int = FAR_US, read_only: bool = False, **subject: Any) -> Permit:
    """A permit for everybody, from the beginning of time."""
    return Permit(
        id="P1",
        kind=kind,
        subject=Subject(**subject),
        from_us=0,
        until_us=until_us,
        article=ARTICLE,
        read_only=read_only,
    )


def policy(
    *permits: Permit, mode: Mode = "enforce", fail: FailMode = "open", media_read_only: tuple[str, ...] = ()
) -> PolicyView:
    """What a PC of zone `office` sees."""
    setting = {"*": Setting(mode, fail)}
    bundle = Bundle(
        city="test",
        generation=1,
        issued_us=0,
        expires_us=FAR_US,
        ordinances=("nagoya",),
        rules=(_rule("device", "devices"), _rule("media", "media")),
        permits=permits,
        zones=(Zone(name="unassigned", title_ja="未割当", title_en="unassigned"),),
        settings={"devices": setting, "media": setting},
        media_read_only=media_read_only,
    )
    return PolicyView(bundle, "0" * 64, "agent")
