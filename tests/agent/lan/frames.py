"""Frames as machines send them, made by scapy."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

SWITCH = "00:00:5e:00:53:aa"


def arp(mac: str, ip: str, *, probe: bool = False) -> bytes:
    from scapy.layers.l2 import ARP, Ether

    asks = ARP(hwsrc=mac, psrc="0.0.0.0" if probe else ip, pdst=ip if probe else "10.77.0.1")
    return bytes(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / asks)


def dhcp(mac: str, name: str, options: Iterable[int], vendor: str = "MSFT 5.0") -> bytes:
    from scapy.layers.dhcp import BOOTP, DHCP
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    chosen = [
        ("message-type", "discover"),
        ("hostname", name),
        ("vendor_class_id", vendor),
        ("param_req_list", list(options)),
        "end",
    ]
    packet = (
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff")
        / IP(src="0.0.0.0", dst="255.255.255.255")
        / UDP(sport=68, dport=67)
        / BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=7)
        / DHCP(options=chosen)
    )
    return bytes(packet)


def cut_dhcp(mac: str) -> bytes:
    """Cut short inside: a switch would not pass on what is cut on the wire."""
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    return bytes(
        Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(dst="255.255.255.255") / UDP(sport=68, dport=67) / b"cut"
    )


def neighbour_solicitation(mac: str, ip: str) -> bytes:
    """Duplicate address detection: from nowhere, for the address itself."""
    from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
    from scapy.layers.l2 import Ether

    return bytes(
        Ether(src=mac, dst="33:33:ff:00:00:66") / IPv6(src="::", dst="ff02::1:ff00:66") / ICMPv6ND_NS(tgt=ip)
    )


def mdns(mac: str, ip: str, name: str) -> bytes:
    from scapy.layers.dns import DNS, DNSRR
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import Ether

    answer = DNS(qr=1, aa=1, qd=[], an=[DNSRR(rrname=f"{name}.local", type="A", rdata=ip, ttl=120)])
    return bytes(
        Ether(src=mac, dst="01:00:5e:00:00:fb")
        / IP(src=ip, dst="224.0.0.251")
        / UDP(sport=5353, dport=5353)
        / answer
    )


def lldp(name: str = "sw-3f", port: str = "Gi1/0/7") -> bytes:
    from scapy.contrib import lldp as part
    from scapy.layers.l2 import Ether

    return bytes(
        Ether(src=SWITCH, dst="01:80:c2:00:00:0e", type=0x88CC)
        / part.LLDPDUChassisID(subtype=4, id=SWITCH)
        / part.LLDPDUPortID(subtype=5, id=port.encode())
        / part.LLDPDUTimeToLive(ttl=120)
        / part.LLDPDUSystemName(system_name=name.encode())
        / part.LLDPDUEndOfLLDPDU()
    )


def cdp() -> bytes:
    from scapy.contrib import cdp as part
    from scapy.layers.l2 import LLC, SNAP, Dot3

    return bytes(
        Dot3(src=SWITCH, dst="01:00:0c:cc:cc:cc")
        / LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
        / SNAP(OUI=0x00000C, code=0x2000)
        / part.CDPv2_HDR(
            msg=[part.CDPMsgDeviceID(val=b"sw-cdp"), part.CDPMsgPortID(iface=b"FastEthernet0/3")]
        )
    )


@st.composite
def mutated(draw: st.DrawFn, frames: list[bytes], *, longest: int, most: int) -> bytes:
    """One of the frames, cut off somewhere, with up to ``most`` bytes changed."""
    data = bytearray(draw(st.sampled_from(frames))[: draw(st.integers(0, longest)) or None])
    for at, value in draw(st.lists(st.tuples(st.integers(0, longest), st.integers(0, 255)), max_size=most)):
        if at < len(data):
            data[at] = value
    return bytes(data)
