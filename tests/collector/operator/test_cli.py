import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from collector.operator.client import ProblemError, check_url
from protocol.orders import hash_code
from tests.collector.console.world import PC1, PC2
from tests.collector.operator.conftest import CUT, Desk


def test_signing_in_and_out(desk: Desk) -> None:
    code, _, err = desk.run("hosts")
    assert (code, "[not_signed_in]" in err, "sekisho login" in err) == (1, True, True)
    desk.login("ciso")
    saved = desk.path / "config" / "session.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert json.loads(desk.run("whoami", "--json")[1])["role"] == "ciso"
    assert desk.run("logout")[0] == 0
    assert not saved.exists()
    assert desk.run("whoami")[0] == 1


def test_a_wrong_password_is_refused(desk: Desk) -> None:
    desk.password.write_text("wrong\n", encoding="utf-8")
    code, out, err = desk.run("login", "--name", "auditor", "--password-file", str(desk.password))
    assert (code, out, "[wrong_password]" in err) == (1, "", True)


def test_japanese_and_english(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.login("it_staff")
    assert desk.run("hosts")[1].startswith("host\tfingerprint\t")
    assert desk.run("--lang", "ja", "hosts")[1].startswith("端末\t指紋\t")
    assert "承認待ち" in desk.run("--lang=ja", "hosts")[1]
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert desk.run("hosts")[1].startswith("端末\t")
    assert desk.run("--lang", "en", "hosts")[1].startswith("host\t")
    assert "端末を隔離する" in desk.run("--help")[1]
    assert "isolate a PC" in desk.run("--lang", "en", "--help")[1]
    assert "役割では許されていません" in desk.run("audit")[2]


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["hosts", "--nonsense"],
        ["isolate", "zeimu-01"],
        ["isolate", "zeimu-01", "--ground", "第58条", "--reason", "x", "--key", "k"],
        ["isolate", "zeimu-01", "--ground", "a:b", "--reason", "x", "--key", "k", "--expires", "soon"],
        ["--lang", "fr", "hosts"],
        ["events", "--since", "yesterday"],
        ["alerts", "--limit", "0"],
    ],
)
def test_wrong_usage_is_exit_code_2(desk: Desk, words: list[str]) -> None:
    desk.login("ciso")
    assert desk.run(*words)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ["hosts"], ["host", "show", "zeimu-01"], ["alerts"], ["events"], ["people"], ["assets"], ["permits", "list"],
        ["orders"], ["audit"], ["audit", "--verify"], ["whoami"], ["health"], ["policy", "diff"], ["policy", "releases"],
    ],
)  # fmt: skip
def test_every_listing_has_json_and_a_table(desk: Desk, words: list[str]) -> None:
    desk.login("ciso")
    desk.world.alert()
    code, out, _ = desk.run(*words, "--json")
    assert code == 0
    json.loads(out)
    code, out, err = desk.run(*words)
    assert code == 0
    assert out or err


def test_what_a_pc_says_cannot_drive_the_terminal(desk: Desk) -> None:
    desk.login("it_staff")
    with desk.world.console.store.write() as session:
        evil = desk.world._agent("ffff" + "6" * 28, "\x1b]0;evil\x07[red]x\r\n", "x", "active")
        session.add(evil)
    out = desk.run("hosts")[1]
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]x" in out


def test_registers(desk: Desk) -> None:
    desk.login("it_staff")
    assert (
        desk.run("people", "add", "ueda", "上田", "--section", "税務課", "--office", "network_manager")[0]
        == 0
    )
    assert "network_manager" in desk.run("people", "--section", "税務課")[1]
    assert desk.run("assets", "add", "A-9", "device", "--usb", "0781:5581", "--serial", "S9")[0] == 0
    assert "product_id=5581" in desk.run("assets")[1]
    code, _, err = desk.run("assets", "add", "A-9", "device", "--serial", "S9")
    assert (code, "[already_there]" in err) == (1, True)


def test_a_pc_is_placed_and_revoked(desk: Desk) -> None:
    desk.login("it_staff")
    assert desk.run("host", "approve", "new-pc", "--reason", "確認")[0] == 0
    out = desk.run("host", "assign", "new-pc", "--zone", "internet", "--section", "広報課", "--json")[1]
    assert json.loads(out)[0]["zone"] == "internet"
    code, _, err = desk.run("host", "assign", "new-pc", "--zone", "nowhere")
    assert (code, "mynumber" in err) == (1, True)
    assert desk.run("host", "revoke", "new-pc", "--reason", "廃棄")[0] == 0


def test_policy_is_shown_signed_and_released(desk: Desk) -> None:
    desk.login("network_admin")
    assert desk.run("policy", "apply", *desk.key("policy"))[0] == 2, "nobody to ask"
    code, _, err = desk.run("policy", "apply", *desk.key("ciso"), "--yes")
    assert (code, "[foreign]" in err) == (1, True)
    code, out, err = desk.run("policy", "apply", *desk.key("policy"), "--yes", "--json")
    assert code == 0, err
    generation = json.loads(out)["generation"]
    assert "+ zone lgwan" in err
    assert desk.run("policy", "apply", *desk.key("policy"), "--yes")[2].count("nothing changes") == 1
    renewed = desk.run("policy", "apply", *desk.key("policy"), "--yes", "--renew", "--json")[1]
    assert json.loads(renewed)["generation"] == generation + 1
    assert json.loads(desk.run("policy", "show", "--json")[1])["due"] is False
    out = desk.run("policy", "draft", "--out", str(desk.path / "draft"), "--json")[1]
    assert json.loads(out)["generation"] == generation + 2
    assert (desk.path / "draft").stat().st_size > 100


def test_a_permit_revoked_with_the_key_is_released_at_once(desk: Desk) -> None:
    desk.login("network_admin")
    assert desk.run("policy", "apply", *desk.key("policy"), "--renew", "--yes")[0] == 0
    application = [
        "--applicant",
        "tanaka",
        "--approver",
        "kato",
        "--ground",
        "nagoya:第35条第4号",
        "--reason",
        "調査",
    ]
    code, out, err = desk.run(
        "permits", "grant", "device", *application, "--device-id", "d-1", "--until", "30d", "--host", "zeimu-01",
        *desk.key("policy"), "--yes", "--json",
    )  # fmt: skip
    assert code == 0, err
    granted = json.loads(out)
    assert (granted["release_due"], granted["permit"]["scope"]) == (False, {"agents": [PC1]})
    number = granted["permit"]["id"]
    assert number in desk.run("permits", "list", "--state", "granted")[1]
    code, out, err = desk.run(
        "permits", "revoke", number, "--reason", "紛失", *desk.key("policy"), "--yes", "--json"
    )
    assert (code, f"- permit {number}" in err) == (0, True)
    assert json.loads(out)["release"]["generation"] == granted["release"]["generation"] + 1
    code, _, err = desk.run(
        "permits", "grant", "device", *application, "--device-id", "d-2", "--until", "30d"
    )
    assert (code, "PCs do not know yet" in err) == (0, True)


def test_isolating_shows_the_radius_and_each_step(desk: Desk, pc: Callable[..., None]) -> None:
    desk.login("ciso")
    code_file = desk.path / "code"
    assert desk.run("isolate", "zeimu-01", *CUT, *desk.key("ciso"))[0] == 2, "nobody to ask"
    pc("sent", "applied", "verified", must_succeed=True, must_fail=True, latency_us=4200, sockets_destroyed=3)
    code, out, err = desk.run(
        "isolate",
        "zeimu-01",
        *CUT,
        *desk.key("ciso"),
        "--yes",
        "--json",
        "--code-file",
        str(code_file),
        "--expires",
        "4h",
    )
    assert code == 0, err
    order = json.loads(out)
    assert (order["state"], order["host_id"], order["issuer"]) == ("verified", PC1, "佐藤")
    assert "加藤" in err
    assert "must succeed: ○ / must fail: ○ / sockets ended: 3 / 4.2 ms" in err
    assert stat.S_IMODE(code_file.stat().st_mode) == 0o600
    document = _order_in_database(desk, order["id"])
    assert document["release_hash"] == hash_code(order["id"], code_file.read_text(encoding="ascii").strip())
    assert document["expires_us"] - document["issued_us"] == 4 * 3600 * 1_000_000

    pc("sent", "applied", "verified", must_succeed=True, must_fail=True)
    code, out, err = desk.run("restore", "zeimu-01", *CUT, *desk.key("deputy"), "--yes", "--json")
    assert code == 0, err
    assert _order_in_database(desk, json.loads(out)["id"])["restores"] == order["id"]
    code, _, err = desk.run("restore", "zeimu-01", *CUT, *desk.key("ciso"), "--yes")
    assert (code, "no isolation order" in err) == (1, True)
    assert "isolate" in desk.run("orders", "--host", "zeimu-01")[1]


def _order_in_database(desk: Desk, number: str) -> dict[str, Any]:
    import msgspec

    from collector.registers.models import OrderRow
    from protocol.signed import Signed

    with desk.world.console.store.read() as session:
        row = session.get_one(OrderRow, number)
    body = msgspec.msgpack.decode(row.document, type=Signed).body
    return dict(msgspec.msgpack.decode(body))


@pytest.mark.parametrize("state", ["failed", "refused"])
def test_a_cut_that_did_not_take_is_exit_code_1(desk: Desk, pc: Callable[..., None], state: str) -> None:
    desk.login("ciso")
    pc("sent", state, refusal="stale", detail="clock")
    code, out, err = desk.run("isolate", PC2[:8], *CUT, *desk.key("ciso"), "--yes")
    assert (code, "stale clock" in err) == (1, True)
    assert "release code" in out


def test_a_silent_pc_is_called_unreachable(desk: Desk, pc: Callable[..., None]) -> None:
    desk.login("ciso")
    pc("sent")
    code, out, err = desk.run(
        "isolate", "fukushi-01", *CUT, *desk.key("ciso"), "--yes", "--json", "--timeout", "20"
    )
    assert (code, json.loads(out)["state"]) == (1, "unreachable")
    assert "reaches it when it is back" in err


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1:7480", "http://city.example", "ftp://127.0.0.1", "nonsense"]
)
def test_a_password_never_goes_over_a_network_in_the_clear(url: str) -> None:
    with pytest.raises(ProblemError) as caught:
        check_url(url)
    assert caught.value.name in {"insecure_url", "bad_value"}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:7480", "http://localhost:1", "http://[::1]:7480", "https://city.example"]
)
def test_loopback_and_https_are_taken(url: str) -> None:
    check_url(url)


def test_a_collector_that_is_not_there(desk: Desk) -> None:
    code, _, err = desk.run("--url", "http://127.0.0.1:1", "health")
    assert (code, "[collector_unreachable]" in err) == (1, True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """A shell starts background jobs with Ctrl-C ignored, which children inherit; a handler of ours is not inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_following_prints_each_alert_as_it_comes(desk: Desk) -> None:
    desk.login("network_admin")
    command = [sys.executable, "-m", "collector.operator.cli", "alerts", "--follow", "--json", "--limit", "1"]
    desk.world.alert(seq=77_001)
    with (
        _interruptible(),
        subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), text=True) as process,
    ):
        assert process.stdout
        assert json.loads(process.stdout.readline())["seq"] == 77_001
        new = desk.world.alert(seq=77_002)
        assert json.loads(process.stdout.readline())["id"] == new
        process.send_signal(signal.SIGINT)
        process.wait(15)
