"""Who made a socket, known to the kernel before the first packet: one eBPF program on the cgroup's socket creation.

NFLOG names the uid of a forbidden packet, never the pid, and a UDP or ICMP sender is told EPERM at once and may be gone
before anybody looks. So every socket is stamped when it is made: the program (hook ``cgroup/sock_create``) derives a
stamp from the socket cookie, puts it into ``sk->priority`` and keeps ``key → pid, uid, comm`` in an LRU hash. A packet
carries its socket's priority; the firewall turns it into the mark that NFLOG reports. nft 1.0.6 refuses to copy
priority to mark (other data type) but may *hash* it, so the program stores under the same hash
(:data:`MARK_FROM_STAMP`). Exact for TCP, UDP, ICMP and raw sockets alike, also for processes that are gone.

Side effect: programs see an odd SO_PRIORITY. The stamp's low four bits are zero and its major number is high, so qdiscs
take it for best effort; a VLAN device with an egress QoS map for priority 0 loses that map entry.
A program that sets IP_TOS or SO_PRIORITY wipes the stamp; sock_diag is then asked.

Neither compiler nor libbpf: the program is assembled here. Sources: kernel ``Documentation/bpf/standardization/
instruction-set.rst``, ``include/uapi/linux/bpf.h``, ``include/linux/jhash.h``, ``net/netfilter/nft_hash.c``. Linux 5.8+.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from pathlib import Path

from msgspec import Struct

from agent.platform.ports import UnsupportedError

SEED = 0x5EC15A0
MARK_FROM_STAMP = f"meta mark set jhash meta priority mod 4294967295 seed {SEED:#x}"
"""nft statement that makes a packet's mark the key of its socket's record."""

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _MAP_LOOKUP, _PROG_LOAD, _LINK_CREATE = 0, 1, 5, 28
_LRU_HASH, _PROG_CGROUP_SOCK, _ATTACH_SOCK_CREATE = 9, 9, 2
_RECORDS = 8192
_INIT_PID_NS = 0xEFFFFFFC
_JHASH_INITVAL = 0xDEADBEEF
_JHASH_FINAL = ((2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24))
"""__jhash_final: (x, y, n) is ``x ^= y; x -= rol32(y, n)`` over the words a, b, c."""

_RECORD = struct.Struct("=QIIQII16s")
"""cookie, thread, pid, ns since boot, uid, gid, comm"""

# opcodes
_MOV, _MOV_IMM, _STX_W, _STX_DW = 0xBF, 0xB7, 0x63, 0x7B
_ADD_IMM, _CALL, _EXIT = 0x07, 0x85, 0x95
_AND_IMM, _OR_IMM, _LSH_IMM = 0x57, 0x47, 0x67
_MOV32, _MOV32_IMM, _ADD32, _ADD32_IMM, _SUB32, _XOR32, _OR32 = 0xBC, 0xB4, 0x0C, 0x04, 0x1C, 0xAC, 0x4C
_LSH32_IMM, _RSH32_IMM, _JEQ_IMM = 0x64, 0x74, 0x15
_LD_IMM64 = 0x18

# helpers
_MAP_UPDATE, _PID_TGID, _UID_GID, _COMM, _COOKIE, _NS_PID_TGID, _BOOT_NS = 2, 14, 15, 16, 46, 120, 125


class Creator(Struct, frozen=True):
    """The process that made a socket: its name and user then, and when (ns since boot)."""

    pid: int
    uid: int
    comm: str
    boot_ns: int
    cookie: int


def _op(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhI", code, dst | src << 4, off, imm & 0xFFFFFFFF)


def _wide(dst: int, value: int, src: int = 0) -> bytes:
    """A 64-bit constant, or (``src`` 1) a map by its descriptor."""
    return _op(_LD_IMM64, dst, src, 0, value) + _op(0, imm=value >> 32)


def jhash_key(stamp: int) -> int:
    """What :data:`MARK_FROM_STAMP` makes of a stamp; the program computes the same."""
    words = [(_JHASH_INITVAL + 4 + SEED) & 0xFFFFFFFF] * 3
    words[0] = (words[0] + stamp) & 0xFFFFFFFF
    for x, y, turn in _JHASH_FINAL:
        words[x] ^= words[y]
        words[x] = (words[x] - (words[y] << turn | words[y] >> (32 - turn))) & 0xFFFFFFFF
    return words[2] * 0xFFFFFFFF >> 32


def _hash_code() -> bytes:
    """Registers: stamp in r1; a, b, c in r2, r3, r4; scratch r5, r0; leaves the key in r4."""
    code = b"".join(_op(_MOV32_IMM, reg, imm=_JHASH_INITVAL + 4 + SEED) for reg in (2, 3, 4))
    code += _op(_ADD32, 2, 1)
    for x, y, turn in _JHASH_FINAL:
        x, y = x + 2, y + 2  # noqa: PLW2901
        code += _op(_XOR32, x, y) + _op(_MOV32, 5, y) + _op(_MOV32, 0, y)
        code += _op(_LSH32_IMM, 5, imm=turn) + _op(_RSH32_IMM, 0, imm=32 - turn)
        code += _op(_OR32, 5, 0) + _op(_SUB32, x, 5)
    # reciprocal_scale(h, 2^32 - 1) is h - 1, and 0 for 0
    return code + _op(_JEQ_IMM, 4, off=1) + _op(_ADD32_IMM, 4, imm=-1)


def _program(map_fd: int, pid_ns: tuple[int, int] | None) -> bytes:
    """The program. Stack: record at fp-48, key at fp-56, pid structure at fp-64; context in r6, cookie in r7."""
    code = _op(_MOV, 6, 1) + _op(_CALL, imm=_COOKIE) + _op(_MOV, 7, 0)
    code += _op(_STX_DW, 10, 7, -48)
    if pid_ns is None:
        code += _op(_CALL, imm=_PID_TGID) + _op(_STX_DW, 10, 0, -40)
    else:
        # struct bpf_pidns_info {pid, tgid}; stays zero for a process of a nested namespace
        code += _op(_MOV_IMM, 1) + _op(_STX_DW, 10, 1, -40)
        code += _wide(1, pid_ns[0]) + _wide(2, pid_ns[1])
        code += _op(_MOV, 3, 10) + _op(_ADD_IMM, 3, imm=-40) + _op(_MOV_IMM, 4, imm=8)
        code += _op(_CALL, imm=_NS_PID_TGID)
    code += _op(_CALL, imm=_BOOT_NS) + _op(_STX_DW, 10, 0, -32)
    code += _op(_CALL, imm=_UID_GID) + _op(_STX_DW, 10, 0, -24)
    code += _op(_MOV, 1, 10) + _op(_ADD_IMM, 1, imm=-16) + _op(_MOV_IMM, 2, imm=16) + _op(_CALL, imm=_COMM)
    code += _op(_MOV, 1, 7) + _op(_AND_IMM, 1, imm=0x3FFFFFF) + _op(_LSH_IMM, 1, imm=4)
    code += _op(_OR_IMM, 1, imm=0x40000000)
    code += _op(_STX_W, 6, 1, 20)  # bpf_sock.priority
    code += _hash_code() + _op(_STX_W, 10, 4, -56)
    code += _wide(1, map_fd, src=1)
    code += _op(_MOV, 2, 10) + _op(_ADD_IMM, 2, imm=-56) + _op(_MOV, 3, 10) + _op(_ADD_IMM, 3, imm=-48)
    code += _op(_MOV_IMM, 4) + _op(_CALL, imm=_MAP_UPDATE)
    return code + _op(_MOV_IMM, 0, imm=1) + _op(_EXIT)


def cgroup_root(proc: Path) -> Path:
    """Where to attach: ``SEKISHO_CGROUP`` (a PC of the testbed), else the root of the cgroup v2 tree.

    Raises UnsupportedError ``bpf_unsupported``.
    """
    if chosen := os.environ.get("SEKISHO_CGROUP"):
        return Path(chosen)
    for line in (proc / "self" / "mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split(" ")
        if words[2] == "cgroup2":
            return Path(words[1])
    raise UnsupportedError("bpf_unsupported", "no cgroup v2 tree is mounted")


class _Bpf:
    """The bpf(2) system call."""

    def __init__(self) -> None:
        number = _SYSCALL.get(platform.machine())
        if number is None:
            raise UnsupportedError("bpf_unsupported", f"bpf() is not known on {platform.machine()}")
        self._number = number
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __call__(self, command: int, attributes: bytes) -> int:
        """Raises OSError."""
        buffer = ctypes.create_string_buffer(attributes, len(attributes))
        result = int(self._libc.syscall(self._number, command, buffer, len(attributes)))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"bpf command {command}: {os.strerror(code)}")
        return result


class SocketStamps:
    """The loaded program. It goes away with this process: the kernel link is bound to our descriptor.

    Raises UnsupportedError ``bpf_unsupported`` when the kernel, its lock-down, or missing rights forbid it.
    """

    def __init__(self, cgroup: Path, proc: Path = Path("/proc")) -> None:
        self._bpf = _Bpf()
        self._fds: list[int] = []
        self._key = ctypes.c_uint32()
        self._value = ctypes.create_string_buffer(_RECORD.size)
        try:
            self._map = self._keep(
                self._bpf(_MAP_CREATE, struct.pack("<IIIII", _LRU_HASH, 4, _RECORD.size, _RECORDS, 0))
            )
            prog = self._keep(self._load(self._map, proc))
            target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._keep(
                    self._bpf(_LINK_CREATE, struct.pack("<IIII", prog, target, _ATTACH_SOCK_CREATE, 0))
                )
            finally:
                os.close(target)
        except OSError as error:
            self.close()
            raise UnsupportedError("bpf_unsupported", str(error), "sock_diag is used instead") from error
        self._lookup = struct.pack(
            "<IIQQQ", self._map, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0
        )

    def _keep(self, descriptor: int) -> int:
        self._fds.append(descriptor)
        return descriptor

    def _load(self, map_fd: int, proc: Path) -> int:
        namespace = (proc / "self" / "ns" / "pid").stat()
        # In the first namespace the plain helper names every process, also those in containers.
        pid_ns = None if namespace.st_ino == _INIT_PID_NS else (namespace.st_dev, namespace.st_ino)
        code = ctypes.create_string_buffer(_program(map_fd, pid_ns))
        licence = ctypes.create_string_buffer(b"GPL")
        attributes = struct.pack(
            "<IIQQIIQII16sII",
            _PROG_CGROUP_SOCK,
            (len(code) - 1) // 8,
            ctypes.addressof(code),
            ctypes.addressof(licence),
            0,  # log level
            0,  # log size
            0,  # log buffer
            0,  # kernel version
            0,  # flags
            b"sekisho_stamp",
            0,  # interface
            _ATTACH_SOCK_CREATE,
        )
        return self._bpf(_PROG_LOAD, attributes)

    def find(self, mark: int) -> Creator | None:
        """The creator of the socket whose packet carried ``mark``; None when it is not (any more) known."""
        self._key.value = mark
        try:
            self._bpf(_MAP_LOOKUP, self._lookup)
        except FileNotFoundError:
            return None
        cookie, _thread, pid, boot_ns, uid, _gid, comm = _RECORD.unpack(self._value.raw)
        return Creator(pid, uid, comm.rstrip(b"\0").decode("utf-8", "replace"), boot_ns, cookie)

    def close(self) -> None:
        """Detach the program and free the map."""
        while self._fds:
            os.close(self._fds.pop())
