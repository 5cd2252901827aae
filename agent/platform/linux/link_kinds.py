"""What sort of line an interface is: from what the kernel calls it, and from its place in sysfs.

Sources: kernel ``Documentation/ABI/testing/sysfs-class-net`` (``DEVTYPE`` in ``uevent``, ``phy80211``), ``if_arp.h``. Drivers that
make a network of a phone: ``drivers/net/usb`` (rndis_host, ipheth, cdc_*), of a mobile modem: qmi_wwan, cdc_mbim and the vendors'.
"""

from __future__ import annotations

import os
from pathlib import Path

from agent.platform.link_ports import LinkType

NET = "class/net"
_VPN = frozenset({
    "wireguard", "tun", "ipip", "sit", "gre", "gretap", "erspan", "ip6tnl", "ip6gre", "ip6gretap", "ip6erspan", "vti", "vti6",
    "xfrm", "vxlan", "geneve", "gtp", "bareudp", "ovpn", "ovpn-dco", "fou", "l2tpeth",
})  # fmt: skip
_BRIDGE = frozenset({"bridge", "openvswitch"})
_INSIDE = frozenset({"dummy", "ifb", "nlmon", "vcan", "vrf", "netdevsim", "netkit", "bpf"})
_TETHER = frozenset({"rndis_host", "ipheth", "cdc_ether", "cdc_ncm", "cdc_eem", "cdc_subset"})
_MODEM = frozenset({
    "qmi_wwan", "cdc_mbim", "huawei_cdc_ncm", "sierra_net", "hso", "option", "mhi_wwan_mbim", "mhi_net", "iosm", "t7xx", "cdc_phonet",
})  # fmt: skip
_DEVTYPES: dict[str, LinkType] = {
    "wlan": "wireless",
    "wwan": "modem",
    "bluetooth": "bluetooth",
    "bridge": "bridge",
}
_PPP = 512
_ETHER = 1


def link_type(sys: Path, name: str, info_kind: str, arp_type: int, *, port: bool) -> LinkType:
    """Sort an interface. ``info_kind`` is rtnetlink's IFLA_INFO_KIND, ``arp_type`` its hardware type, ``port`` that it has a master."""
    place = sys / NET / name
    if info_kind in _BRIDGE:
        return "bridge"
    if info_kind in _VPN:
        return "other" if port else "vpn"  # a tap below a bridge is a virtual machine's cable
    if info_kind in _INSIDE or (info_kind == "veth" and port):
        return "other"
    if (place / "phy80211").exists() or (place / "wireless").exists():
        return "wireless"
    if found := _DEVTYPES.get(_devtype(place)):
        return found
    driver = _driver(place)
    if driver in _TETHER:
        return "tether"
    if driver in _MODEM or info_kind in {"ppp", "wwan"} or arp_type == _PPP:
        return "modem"
    return "wired" if arp_type == _ETHER else "other"


def is_real(sys: Path, name: str, kind: LinkType) -> bool:
    """Whether a line leaves this PC by it: hardware is behind it, and not only a virtual machine or container."""
    return kind in {"wireless", "tether", "modem", "bluetooth"} or (sys / NET / name / "device").exists()


def _devtype(place: Path) -> str:
    try:
        lines = (place / "uevent").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line[8:] for line in lines if line.startswith("DEVTYPE=")), "")


def _driver(place: Path) -> str:
    try:
        return os.path.basename(os.readlink(place / "device/driver"))  # noqa: PTH115, PTH119 - as umockdev intercepts
    except OSError:
        return ""
