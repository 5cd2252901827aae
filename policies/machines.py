"""When do two sightings of one MAC show two machines? Asked on the PC (one segment) and in the centre (all of them)."""

from __future__ import annotations

_WINDOWS_NAME = 15
_BOOT_FIRMWARE = "PXEClient"


def plain_name(hostname: str) -> str:
    """A host name as DHCP, mDNS and Windows all have it: first label, lower case, 15 characters, no ``-2`` of mDNS."""
    name = hostname.partition(".")[0].lower()
    stem, dash, number = name.rpartition("-")
    return (stem if dash and number.isdigit() and len(number) == 1 else name)[:_WINDOWS_NAME]


def names_differ(one: str, other: str) -> bool:
    """Whether two plain names are both known and not the same."""
    return bool(one and other) and one != other


def fingerprints_differ(one: str, other: str) -> bool:
    """Whether two DHCP fingerprints cannot be of one system. One that boots from the network shows its firmware first."""
    comparable = one and other and one.startswith("v6:") == other.startswith("v6:")
    return bool(comparable) and one != other and _BOOT_FIRMWARE not in one + other


def normal_mac(text: str) -> str:
    """``AA-BB-CC-DD-EE-FF``, ``aabb.ccdd.eeff`` … as ``aa:bb:cc:dd:ee:ff``. Raises ValueError."""
    digits = "".join(char for char in text if char not in ":-. ").lower()
    if len(digits) != 12 or any(char not in "0123456789abcdef" for char in digits):  # noqa: PLR2004 - 48 bits
        raise ValueError(f"not a MAC: {text!r}")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
