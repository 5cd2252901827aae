"""nftables through libnftables in this process, and a watch that names who else changes the ruleset.

Sources: libnftables(3); kernel ``include/uapi/linux/netfilter/nf_tables.h`` (NFT_MSG_NEWGEN carries pid and name of the
changer, NFTA_GEN_PROC_PID and NFTA_GEN_PROC_NAME).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from agent.platform.linux.netlink import NETLINK_NETFILTER, NetlinkSocket, attributes, lost, messages
from agent.platform.ports import OverflowedError, UnsupportedError
from protocol.refusal import RefusedError

if TYPE_CHECKING:
    from nftables import Nftables

_GROUP_NFTABLES = 1 << 6
_NEWGEN = 0xA00 | 15
_PROC_PID, _PROC_NAME = 2, 3


class LinuxFirewall:
    """Implements ``ports.Firewall``. libnftables is not thread-safe: one thread only, in one network namespace."""

    def __init__(self) -> None:
        self._lazy: Nftables | None = None

    @property
    def _nft(self) -> Nftables:
        if self._lazy is None:
            try:
                from nftables import Nftables

                self._lazy = Nftables()
            except (ImportError, OSError) as error:
                raise UnsupportedError("nftables_missing", str(error), "install libnftables1") from error
        return self._lazy

    def apply(self, ruleset: str) -> None:
        """One transaction: all of it or nothing."""
        code, _, complaint = self._nft.cmd(ruleset)
        if code:
            raise OSError(code, complaint.strip())

    def _list(self, what: str) -> str:
        code, text, complaint = self._nft.cmd(f"list {what}")
        if code:
            raise OSError(code, complaint.strip())
        return str(text)

    def tables(self) -> set[tuple[str, str]]:
        """Raises OSError when this process may not look."""
        return {
            (words[1], words[2])
            for line in self._list("tables").splitlines()
            if len(words := line.split()) == 3
        }

    def listing(self, family: str, name: str) -> str:
        """Raises OSError only when the whole filter cannot be read."""
        try:
            return self._list(f"table {family} {name}")
        except OSError:
            if (family, name) in self.tables():
                raise
            return ""

    def chains(self) -> str:
        """Raises OSError when this process may not look."""
        return self._list("chains")

    def close(self) -> None:
        """Free the library's context; tables with an owner flag go with it."""
        self._lazy = None


class LinuxFirewallWatch:
    """Implements ``ports.FirewallWatch``.

    Our own changes are told by the netlink port of their socket, which the kernel gives: a pid would be that of another
    pid namespace in a container.
    """

    def __init__(self) -> None:
        try:
            self._netlink = NetlinkSocket(NETLINK_NETFILTER, groups=_GROUP_NFTABLES, buffer=1 << 20)
        except OSError as error:
            raise UnsupportedError("firewall_watch_unsupported", str(error)) from error
        self._own: set[int] = set()

    def fileno(self) -> int:
        """Descriptor to wait on."""
        return self._netlink.fileno()

    def changed_by(self) -> list[str]:
        """Raises OverflowedError: then somebody changed something, and nobody knows who."""
        found: list[str] = []
        while True:
            try:
                data = self._netlink.receive()
            except OSError as error:
                if lost(error):
                    raise OverflowedError("nftables watch") from error
                raise
            if data is None:
                return found
            for port, who in parse_changes(data):
                if not self._is_own(port):
                    found.append(who)

    def _is_own(self, port: int) -> bool:
        if port not in self._own:
            self._own = own_ports()
        return port in self._own

    def close(self) -> None:
        """Stop watching."""
        self._netlink.close()


def parse_changes(data: bytes) -> list[tuple[int, str]]:
    """(netlink port, ``pid:name``) of the ruleset generations in a datagram. What is garbled names nobody."""
    found: list[tuple[int, str]] = []
    try:
        for message in messages(data):
            if message.type == _NEWGEN:
                facts = attributes(message.body[4:])
                pid = int.from_bytes(facts.get(_PROC_PID, b""), "big")
                name = facts.get(_PROC_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
                found.append((message.port, f"{pid}:{name}"))
    except (RefusedError, struct.error):
        found.append((0, "0:"))
    return found


def own_ports() -> set[int]:
    """Netlink ports of this process's netfilter sockets, out of /proc/self."""
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for line in Path("/proc/self/net/netlink").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if words[1] == str(NETLINK_NETFILTER) and words[9] in inodes:
            ports.add(int(words[2]) & 0xFFFFFFFF)
    return ports
