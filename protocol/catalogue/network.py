"""What the PC connects to, who else is on its segment, and its own links."""

from __future__ import annotations

from typing import Annotated, Literal

from protocol.catalogue.base import ActorEvent, Event, Name, Priority, field


class _ConnectionEvent(ActorEvent, frozen=True, kw_only=True, omit_defaults=True):
    protocol: Annotated[Name, field("tcp | udp | icmp | icmpv6 | number")] = ""
    src_ip: Annotated[Name, field("source address")] = ""
    src_port: Annotated[int, field("source port")] = 0
    dest_ip: Annotated[Name, field("destination address")] = ""
    dest_port: Annotated[int, field("destination port; ICMP type for icmp")] = 0
    dest_zone: Annotated[Name, field("zone of the destination")] = ""
    direction: Annotated[Literal["out", "in"], field("seen from the PC")] = "out"
    count: Annotated[int, field("packets folded into this event")] = 1
    dest_name: Annotated[Name, field("name the PC had resolved the destination by, if known")] = ""
    service: Annotated[Name, field("web | mail | dns | file | remote | other, by port and protocol")] = ""


class ConnectionOpened(_ConnectionEvent, frozen=True, kw_only=True, tag="connection.opened"):
    """A connection was opened."""

    ocsf = 4001


class ConnectionBlocked(_ConnectionEvent, frozen=True, kw_only=True, tag="connection.blocked"):
    """A connection was stopped on the PC."""

    priority = Priority.VIOLATION
    ocsf = 4001

    latency_us: Annotated[int, field("from the packet to the socket destroyed", unit="µs")] = 0
    attribution: Annotated[Name, field("how the process was found: bpf | sock_diag | none")] = ""


class DnsResolved(ActorEvent, frozen=True, kw_only=True, tag="dns.resolved"):
    """A name was looked up over the network."""

    ocsf = 4003

    query: Annotated[Name, field("name asked for, without the last dot")] = ""
    query_type: Annotated[Name, field("A | AAAA | MX | …")] = ""
    answers: Annotated[tuple[str, ...], field("addresses or names answered, at most 16")] = ()
    rcode: Annotated[Name, field("noerror | nxdomain | servfail | refused | other")] = ""
    server: Annotated[Name, field("name server that answered")] = ""
    count: Annotated[int, field("equal look-ups folded into this event")] = 1


class NeighbourSeen(Event, frozen=True, kw_only=True, tag="neighbour.seen"):
    """A machine on this PC's segment showed itself, or changed what it shows (Nagoya 35(5))."""

    priority = Priority.NOTABLE
    ocsf = 5001

    segment: Annotated[Name, field("segment: network and the MAC of its gateway")] = ""
    interface: Annotated[Name, field("interface of the PC that saw it")] = ""
    mac: Annotated[Name, field("its MAC, aa:bb:cc:dd:ee:ff")] = ""
    randomised: Annotated[bool, field("locally administered MAC, as phones and new systems make up")] = False
    ip: Annotated[Name, field("an address of it")] = ""
    addresses: Annotated[tuple[str, ...], field("all addresses seen so far, at most 16")] = ()
    via: Annotated[Name, field("arp | ndp | dhcp | mdns | lldp | cdp | own: what showed it")] = ""
    hostname: Annotated[Name, field("name it gives itself (DHCP, mDNS)")] = ""
    fingerprint: Annotated[Name, field("DHCP options it asks for, in order, and its vendor class")] = ""
    why: Annotated[
        Name,
        field(
            "what is new about it: new | address | fingerprint (first name or fingerprint) | copied (it showed itself as "
            "another) | again (still there) | own (the PC itself) | switch (where the PC is plugged in)"
        ),
    ] = ""
    switch: Annotated[Name, field("switch this PC hangs on, by LLDP or CDP")] = ""
    port: Annotated[Name, field("port of that switch")] = ""


class NeighbourFlood(Event, frozen=True, kw_only=True, tag="neighbour.flood"):
    """More frames or more new machines than a segment can have: forged; the rest is only counted."""

    priority = Priority.VIOLATION
    ocsf = 5001

    segment: Annotated[Name, field("segment")] = ""
    interface: Annotated[Name, field("interface of the PC that saw it")] = ""
    via: Annotated[Name, field("arp | ndp | dhcp | mdns")] = ""
    count: Annotated[int, field("frames not looked at, or lost by the kernel")] = 0
    machines: Annotated[int, field("machines not kept")] = 0
    mac: Annotated[Name, field("MAC most of them came from, if one")] = ""


class LinkChanged(Event, frozen=True, kw_only=True, tag="link.changed"):
    """A network link of this PC came, went or changed (Meguro 13(2), Nagoya 43(2), 53)."""

    priority = Priority.NOTABLE
    ocsf = 5002

    change: Annotated[
        Name,
        field(
            "wireless_up | wireless_down | second_network | single_network | bridging | gateway | resolver | "
            "tethering | vpn_up | vpn_down | hotspot | up | down"
        ),
    ] = ""
    interface: Annotated[Name, field("interface")] = ""
    link_type: Annotated[
        Name, field("wired | wireless | tether | vpn | bridge | bluetooth | modem | other")
    ] = ""
    mac: Annotated[Name, field("MAC of the interface")] = ""
    ssid: Annotated[Name, field("wireless network")] = ""
    bssid: Annotated[Name, field("MAC of the access point")] = ""
    addresses: Annotated[tuple[str, ...], field("addresses with prefix length")] = ()
    gateway: Annotated[Name, field("default gateway in use now")] = ""
    resolvers: Annotated[tuple[str, ...], field("name servers in use now")] = ()
    previous: Annotated[Name, field("what it was before, for gateway and resolver")] = ""
    networks: Annotated[int, field("networks this PC is in now")] = 0


class LinkBlocked(Event, frozen=True, kw_only=True, tag="link.blocked"):
    """The PC took a link down (``action`` blocked), or failed to."""

    priority = Priority.VIOLATION
    ocsf = 5002

    interface: Annotated[Name, field("interface")] = ""
    link_type: Annotated[Name, field("as in link.changed")] = ""
    ssid: Annotated[Name, field("wireless network")] = ""
    method: Annotated[Name, field("how: link_down | route_removed")] = ""
    latency_us: Annotated[int, field("from the link seen to the block read back", unit="µs")] = 0
    error: Annotated[Name, field("why the block did not take")] = ""
