"""The gate's parts without a kernel: wire, list, interpreter parser, mount classes."""

import os
import stat
import struct
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.platform.linux import gate_judge, gate_list, gate_wire
from agent.platform.linux.gate_caller import Caller, ask_proc, identity
from agent.platform.linux.gate_channel import GateChannel, execution
from agent.platform.linux.gate_content import interpreter_of
from agent.platform.linux.gate_judge import Judge, is_loader, resolve
from agent.platform.linux.gate_list import EVERYBODY, AllowList, matches
from agent.platform.linux.gate_pair import Options
from agent.platform.linux.gate_wire import Record, decode_records, decode_report, encode_record, encode_report
from policies.model import AGENT_PACKAGE
from tests.gatelab import program

texts = st.binary(max_size=300)
records = st.builds(
    Record,
    st.integers(0, 2**63),
    st.integers(0, 2**31),
    st.integers(0, 2**31),
    st.integers(-1, 2**32 - 1),
    st.integers(0, 7),
    st.sampled_from(gate_wire.REASONS),
    st.sampled_from([b"", b"\x9f" * 32]),
    texts,
    texts,
    texts,
    texts,
)


@given(st.lists(records, max_size=5))
def test_records_are_read_back(written: list[Record]) -> None:
    assert decode_records(b"".join(map(encode_record, written))) == written


@given(st.binary(max_size=400))
def test_any_datagram_is_records_or_refused(data: bytes) -> None:
    try:
        found = decode_records(data)
    except gate_wire.MalformedError:
        return
    assert all(execution(record).pid == record.pid for record in found)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=50)))
def test_reports_are_read_back(values: dict[str, str]) -> None:
    values = {"what": "status", **values}
    read = decode_report(encode_report(dict(values))[1:])
    assert read == {
        name: value.replace("\n", " ").encode("utf-8", "replace").decode() for name, value in values.items()
    }


@given(st.binary(max_size=100))
def test_any_report_is_lines_or_refused(data: bytes) -> None:
    try:
        decode_report(data)
    except gate_wire.MalformedError:
        return


def test_options_are_read_back() -> None:
    options = Options("/", "/sys", "/a b", "/p", True, 3, 4)
    assert Options.parse(options.arguments()) == options


@given(
    st.dictionaries(
        st.from_regex(r"/[a-z/]{1,12}", fullmatch=True), st.binary(min_size=16, max_size=16), max_size=40
    ),
    st.lists(
        st.tuples(st.binary(min_size=32, max_size=32), st.sampled_from([0, 1000, EVERYBODY])), max_size=10
    ),
)
def test_list_finds_what_is_in_it(paths: dict[str, bytes], digests: list[tuple[bytes, int]]) -> None:
    data = gate_list.encode(
        flags=gate_list.ENFORCE,
        built_ns=7,
        rows=[gate_list.row(path.encode(), 0, md5=md5) for path, md5 in paths.items()],
        digests=digests,
        packages=[gate_list.package_line("dpkg", "tool", "1", cover="+")],
        folders=[b"/opt/agent/"],
    )
    fd = os.memfd_create("list")
    try:
        os.write(fd, data)
        allowed = AllowList(f"/proc/self/fd/{fd}")
        assert (allowed.enforce, allowed.every_dpkg, allowed.built_ns, allowed.folders) == (
            True,
            False,
            7,
            (b"/opt/agent/",),
        )
        for path, md5 in paths.items():
            found = allowed.find(path.encode())
            assert found is not None
            assert matches(*found, md5, b"")
            assert not matches(*found, b"x" * 16, b"")
            assert allowed.package(found[1]) == (b"+", b"tool")
        assert allowed.find(b"/not/there") is None
        for digest in {digest for digest, _ in digests}:
            uids = {uid for one, uid in digests if one == digest}
            assert allowed.digest_uids(digest) == (None if EVERYBODY in uids else uids)
        assert allowed.digest_uids(b"\xee" * 32) == frozenset()
        allowed.close()
    finally:
        os.close(fd)


@given(st.binary(max_size=200), st.booleans())
def test_any_file_is_a_list_or_refused(data: bytes, real: bool) -> None:
    fd = os.memfd_create("list")
    try:
        os.write(fd, (gate_list.MAGIC if real else b"") + data)
        try:
            AllowList(f"/proc/self/fd/{fd}").close()
        except gate_list.MalformedError:
            return
    finally:
        os.close(fd)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x7fELF\x02\x01", b"\x7fELF\x01\x02", b"#!"]))
def test_any_header_has_an_interpreter_or_none(data: bytes, start: bytes) -> None:
    content = start + data
    assert isinstance(interpreter_of(content, lambda size, at: content[at : at + size]), bytes)


def test_interpreters() -> None:
    def of(content: bytes) -> bytes:
        return interpreter_of(content, lambda size, at: content[at : at + size])

    assert of(program()) == b""
    assert of(program(interpreter="/lib/ld.so")) == b"/lib/ld.so"
    assert of(b"#! /bin/sh -e\nexit") == b"/bin/sh"
    assert of(b"#!") == b""
    assert of(b"text") == b""
    system = Path("/bin/sh").resolve().read_bytes()
    assert is_loader(of(system))
    assert not is_loader(b"/usr/bin/ld")


def test_resolve_stays_inside(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/lib/ld.so").symlink_to("/usr/lib/real")
    (root / "usr/lib/loop").symlink_to("loop")
    (root / "usr/up").symlink_to("../../../../etc")
    prefix = os.fsencode(root)
    assert resolve(prefix, b"/lib/ld.so") == prefix + b"/usr/lib/real"
    assert resolve(prefix, b"/usr/up/passwd") == prefix + b"/etc/passwd"
    assert resolve(prefix, b"/lib/loop") == b""
    assert resolve(b"", b"/proc/self/../self") == f"/proc/{os.getpid()}".encode()


def test_program_of_the_lab_is_an_executable(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(program("x"))
    path.chmod(0o755)
    assert path.stat().st_mode & stat.S_IXUSR
    assert struct.unpack_from("<H", program(), 16) == (2,)


def test_channel_survives_nonsense_and_counts_losses() -> None:
    channel = GateChannel()
    try:
        for datagram in (b"X", b"E" + b"\x01" * 10, b"Rnonsense", b""):
            channel.inlet.send(datagram)
        record = Record(1, 2, 3, 4, 1, "no_cover", b"\x01" * 32, b"/bin/sh", b"sh -c \xff", b"/tmp/x", b"")
        channel.inlet.send(b"E" + encode_record(record))
        for dropped in (0, 5, 7, 0, 2):
            channel.inlet.send(encode_report({"what": "status", "dropped": dropped}))
            channel.reports()
        assert channel.malformed == 4
        assert channel.lost() == 9
        assert channel.lost() == 0
        found = channel.executions()
        assert [(one.pid, one.denied, one.cmdline) for one in found] == [(2, True, "sh -c \ufffd")]
    finally:
        channel.close()


def test_the_agents_own_package_is_the_one_every_release_covers() -> None:
    assert gate_judge.OWN_PACKAGE.decode() == AGENT_PACKAGE.package


def test_pidfd_and_proc_tell_the_same() -> None:
    expected = (os.getppid(), os.getuid(), Path("/proc/self/ns/mnt").stat().st_ino)
    assert ask_proc(os.getpid()) == identity(os.getpid()) == expected
    caller = Caller(os.getpid())
    assert (caller.ppid, caller.uid, caller.namespace) == expected
    assert b"pytest" in caller.cmdline
    gone = Caller(0)
    assert (gone.ppid, gone.uid, gone.namespace, gone.exe) == (0, -1, 0, b"")


HOSTILE = bytearray(program())
HOSTILE[32:40] = b"\xff" * 8  # program headers at the end of the address space


@given(
    st.one_of(
        st.binary(max_size=300),
        st.just(bytes(HOSTILE)),
        st.binary(max_size=80).map(lambda end: program()[:40] + end),
    )
)
def test_any_file_gets_a_verdict(content: bytes) -> None:
    judge = Judge("/", closed=True, beat=lambda: None)
    fd = os.memfd_create("hostile")
    try:
        os.write(fd, content)
        path, verdict = judge.verdict(fd)
        assert path.startswith(b"/memfd:hostile")
        assert verdict.reason == "gate_unsure"
    finally:
        os.close(fd)
