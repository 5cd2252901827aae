"""Packet filter and anti-virus as they are: real nftables, a real ClamAV database and daemon."""

import os
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.platform import Platform
from agent.platform.linux.firewall import LinuxFirewall
from agent.platform.linux.posture_antivirus import built_at, running_scanners, signatures_built_at
from agent.platform.linux.posture_firewall import judge_firewall
from policies.match import evaluate
from policies.model import Enrichment
from policies.shipped import load_shipped
from protocol.events import PostureReported
from tests.netns import lan

NOW_S = 1_790_000_000
NOW = NOW_S * 1_000_000

# -- packet filter ------------------------------------------------------------------------------------------------------

DROP = "table inet guard { chain input { type filter hook input priority 0; policy drop; ct state established accept; } }"
UFW = """
table ip filter { chain ufw-before-input { } chain INPUT { type filter hook input priority 0; policy drop; jump ufw-before-input; } }
table ip6 filter { chain INPUT { type filter hook input priority 0; policy drop; } }
"""
FIREWALLD = """
table inet firewalld { chain filter_INPUT { type filter hook input priority 10; policy accept;
 ct state established,related accept
 iifname "lo" accept
 reject with icmpx admin-prohibited
} }
"""
ONE_HALF = "table ip filter { chain INPUT { type filter hook input priority 0; policy drop; } }"
OPEN = "table inet guard { chain input { type filter hook input priority 0; policy accept; tcp dport 22 drop; } }"
OTHER = "table inet guard { chain output { type filter hook output priority 0; policy drop; } }"
OURS = """
table inet sekisho { chain input { type filter hook input priority 0; policy drop; } }
table inet sekisho_isolation { chain input { type filter hook input priority 0; policy drop; } }
"""
FILTERS = [
    (DROP, ("on", "inet guard")),
    (UFW, ("on", "ufw")),
    (FIREWALLD, ("on", "firewalld")),
    (ONE_HALF, ("off", "ip filter (ip only)")),
    (OPEN, ("off", "")),
    (OTHER, ("off", "")),
    (OURS, ("off", "")),
    ("", ("off", "")),
]


@pytest.mark.needs("root", "netns", "nft")
def test_firewall_as_nft_has_it() -> None:
    def judged() -> list[tuple[str, str]]:
        firewall, found = LinuxFirewall(), []
        for ruleset, _ in FILTERS:
            firewall.apply("flush ruleset\n" + ruleset.replace("}", "\n}\n"))
            found.append(judge_firewall(firewall.chains(), firewall.listing))
        return found

    with lan("pc") as net:
        assert net.run("pc", judged) == [answer for _, answer in FILTERS]


@given(st.text(max_size=400))
def test_any_listing_is_judged(text: str) -> None:
    assert judge_firewall(text, lambda _family, _name: text)[0] in {"on", "off"}


# -- anti-virus ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with one signature, made by sigtool; its header is a real one."""
    folder = tmp_path_factory.mktemp("clamav")
    (folder / "daily.ndb").write_text("Sekisho.Test:0:*:73656b6973686f2d746573742d7369676e6174757265\n")
    (folder / "sekisho.ndb").write_text("Sekisho.Other:0:*:73656b6973686f2d6f746865722d7369676e6174757265\n")
    (folder / "COPYING").touch()
    argv = ["sigtool", "--build=daily.cud", "--unsigned", "--cvd-version=1", "--datadir=."]
    subprocess.run(
        argv,
        cwd=folder,
        env={**os.environ, "SIGNDUSER": "sekisho"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return folder / "daily.cud"


def pc(tmp_path: Path, **more: Path) -> Platform:
    for folder in ("etc", "run", "var/lib/clamav", "usr/sbin", "var/lib/dpkg", "proc", "sys/dev/block"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    platform = Platform(
        state=tmp_path / "state",
        run=tmp_path / "run",
        root=tmp_path,
        sys=tmp_path / "sys",
        proc=tmp_path / "proc",
    )
    return msgspec.structs.replace(platform, **more)


@pytest.mark.needs("clamav")
def test_age_of_signatures_is_that_of_their_header(tmp_path: Path, database: Path) -> None:
    platform = pc(tmp_path)
    (tmp_path / "usr/sbin/clamd").touch()
    status = (
        "Package: clamav-daemon\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.4.3+dfsg-1\n\n"
    )
    (tmp_path / "var/lib/dpkg/status").write_text(status)
    header = database.read_bytes()
    (tmp_path / "var/lib/clamav/daily.cld").write_bytes(header)
    told = subprocess.run(
        ["sigtool", "--info", str(database)], capture_output=True, text=True, check=True
    ).stdout
    built = signatures_built_at(tmp_path)
    assert f"Build time: {_as_sigtool(built)}" in told
    probe = platform.posture_probe()
    fresh = probe.measure((built + 3600 * 5) * 1_000_000, 0)
    assert (fresh.antivirus, fresh.antivirus_running, fresh.signature_age_h) == (
        "ClamAV 1.4.3+dfsg-1",
        False,
        5,
    )
    stale = probe.measure((built + 86400 * 30) * 1_000_000, 0)
    assert stale.signature_age_h == 720


def _as_sigtool(seconds: int) -> str:
    return time.strftime("%d %b %Y %H:%M", time.gmtime(seconds))


@pytest.mark.needs("root", "clamav")
def test_running_clamd_is_seen(tmp_path: Path, database: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "daily.cud").write_bytes(database.read_bytes())
    socket = tmp_path / "clamd.sock"
    config = tmp_path / "clamd.conf"
    config.write_text(f"DatabaseDirectory {folder}\nLocalSocket {socket}\nForeground yes\nUser root\n")
    before = running_scanners(Path("/proc"))
    clamd = subprocess.Popen(
        ["/usr/sbin/clamd", f"--config-file={config}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert clamd.stdout is not None
        assert clamd.poll() is None
        lines = iter(clamd.stdout.readline, b"")
        assert any(b"Self checking" in line or b"Listening" in line or b"LOCAL:" in line for line in lines)
        assert running_scanners(Path("/proc")) == before | {"ClamAV"}
    finally:
        clamd.kill()
        clamd.wait()
        if clamd.stdout is not None:
            clamd.stdout.close()


@given(st.binary(max_size=600))
def test_any_header_has_a_time_or_none(data: bytes) -> None:
    assert built_at(data) >= 0
    assert 0 <= built_at(b"ClamAV-VDB:" + data) < 4_102_444_800


@pytest.mark.needs("clamav")
def test_from_the_header_of_the_database_to_the_rule(tmp_path: Path, database: Path) -> None:
    platform = pc(tmp_path)
    (tmp_path / "usr/sbin/clamd").touch()
    (tmp_path / "var/lib/clamav/daily.cld").write_bytes(database.read_bytes())
    built = signatures_built_at(tmp_path)
    rule = next(one for one in load_shipped()[1] if one.id == "antivirus_missing_or_stale")
    fires = []
    for hours in (1, 72, 73):
        posture = platform.posture_probe().measure((built + hours * 3600) * 1_000_000, 0)
        running = msgspec.structs.replace(posture, antivirus_running=True)
        event = PostureReported(time_us=1, **msgspec.structs.asdict(running))
        fires.append(evaluate(rule.predicate, event, Enrichment()))
    assert fires == [False, False, True]
