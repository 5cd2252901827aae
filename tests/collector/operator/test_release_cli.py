"""The same road on the command line: check, back-test, ring, promote, roll back; seeding and CSV files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from collector.registers.models import Agent
from collector.registers.store import now_us
from protocol.events import DeviceAttached
from tests.collector.console.world import PC1, PC2
from tests.collector.operator.conftest import Desk


@pytest.fixture
def policy(desk: Desk) -> Iterator[Path]:
    """The site file, put back at the end: the collector serves all tests of this module."""
    path = desk.world.data / "policy.yaml"
    before = path.read_text(encoding="utf-8")
    yield path
    path.write_text(before, encoding="utf-8")
    with desk.world.console.store.write() as session:
        for row in session.query(Agent):
            row.ring = ""


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def ok(desk: Desk, *words: str) -> tuple[str, str]:
    code, out, err = desk.run(*words)
    assert code == 0, f"{words}: {out}{err}"
    return out, err


def test_a_policy_goes_to_a_ring_to_all_and_back(desk: Desk, policy: Path) -> None:
    desk.login("network_admin")
    change(policy, "rules_off: []", "rules_off: [unknown_device]")
    first = json.loads(ok(desk, "policy", "release", *desk.key("policy"), "--yes", "--json")[0])["generation"]
    for number, pc in enumerate((PC1, PC2), 1):
        stick = DeviceAttached(
            time_us=now_us(), device_id=f"cli-{number}", device_class="storage", label="USB stick", serial="X"
        )
        desk.world.journal(pc, stick)
    change(policy, "rules_off: [unknown_device]", "rules_off: []")

    out, _ = ok(desk, "policy", "check")
    assert "no error" in out
    out, _ = ok(desk, "policy", "backtest", "--days", "30")
    assert "would newly have flagged 2 PCs (2 events)" in out
    assert "unknown_device\t" in out
    study = json.loads(ok(desk, "policy", "backtest", "--days", "7", "--json")[0])
    assert study["report"]["newly"]["pcs"] == 2
    assert str(study["id"]) in ok(desk, "policy", "studies")[0]

    out, _ = ok(desk, "policy", "ring", "set", "pilot", "--host", "zeimu-01", "--reason", "試行")
    assert "1 PCs went into ring pilot" in out
    out, err = ok(desk, "policy", "release", *desk.key("policy"), "--ring", "pilot", "--yes")
    assert f"sekisho policy promote {first + 1}" in out
    assert "only to the PCs of ring pilot" in err
    assert "+ rule unknown_device" in err
    assert f"pilot\t1\t{first + 1}\t1" in ok(desk, "policy", "ring", "list")[0]
    shown = json.loads(ok(desk, "policy", "show", "--json")[0])
    assert shown["generation"] == first
    assert json.loads(ok(desk, "policy", "show", "--ring", "pilot", "--json")[0])["generation"] == first + 1
    assert f"0 ! → {first + 1} [pilot]" in ok(desk, "hosts")[0]

    assert desk.run("policy", "promote", str(first + 1))[0] == 2, "nobody to ask"
    ok(desk, "policy", "promote", str(first + 1), "--yes")
    assert "pilot → all" in ok(desk, "policy", "list")[0]
    out, err = ok(desk, "policy", "rollback", str(first), *desk.key("policy"), "--yes")
    assert f"released generation {first + 2}" in out
    assert "- rule unknown_device" in err
    assert "today's registers" in err
    assert f"back to {first}" in ok(desk, "policy", "releases")[0]
    code, _, err = desk.run("policy", "rollback", "999", *desk.key("policy"), "--yes")
    assert (code, "[not_found]" in err) == (1, True)


def test_a_draft_with_an_error_is_not_released_and_the_running_policy_stays(desk: Desk, policy: Path) -> None:
    desk.login("network_admin")
    ok(desk, "policy", "release", *desk.key("policy"), "--yes", "--renew")
    before = json.loads(ok(desk, "policy", "show", "--json")[0])["generation"]
    change(policy, "10.2.0.0/16]", "10.2.0.1/16]")
    code, out, _ = desk.run("policy", "check")
    assert (code, "policy.yaml:" in out) == (1, True)
    code, _, err = desk.run("policy", "release", *desk.key("policy"), "--yes")
    assert (code, "[bad_site_file]" in err) == (1, True)
    change(policy, "10.2.0.1/16]", "10.2.0.0/16]")
    assert json.loads(ok(desk, "policy", "show", "--json")[0])["generation"] == before


def test_a_release_without_a_back_test_says_why(desk: Desk, policy: Path) -> None:
    desk.login("ciso")
    change(policy, "media_read_only: [mynumber]", "media_read_only: []")
    why = ["--without-backtest", "障害対応"]
    out, err = ok(desk, "policy", "apply", *desk.key("policy"), *why, "--yes", "--json")
    assert (json.loads(out)["untested"], json.loads(out)["study_id"]) == ("障害対応", 0)
    assert "not tried on stored events: 障害対応" in err


def test_in_japanese(desk: Desk, policy: Path) -> None:
    desk.login("network_admin")
    assert "試し当て" in ok(desk, "--lang", "ja", "policy", "backtest")[0]
    assert "誤りはありません" in ok(desk, "--lang", "ja", "policy", "check")[0]
    assert "端末を組に入れる" in ok(desk, "--lang", "ja", "policy", "ring", "--help")[0]


def test_seeding_in_bulk(desk: Desk) -> None:
    desk.login("it_staff")
    for pc in (PC1, PC2):
        stick = DeviceAttached(
            time_us=now_us(), device_id="seed-me", device_class="storage", label="city stick"
        )
        desk.world.journal(pc, stick)
    out, err = ok(desk, "registers", "seed", "--since", "7d", "--kind", "devices")
    assert "new proposals" in out
    assert "proposals list" in err
    rows = json.loads(ok(desk, "registers", "proposals", "list", "--json")[0])
    (mine,) = [row for row in rows if row["subject"].get("device_id") == "seed-me"]
    assert mine["pcs"] == 2
    assert "city stick" in ok(desk, "registers", "proposals", "list", "--kind", "devices")[0]
    assert desk.run("registers", "proposals", "approve")[0] == 2
    batch = json.loads(ok(desk, "registers", "proposals", "approve", mine["id"], "--json")[0])
    assert "seed-me" in ok(desk, "assets")[0]
    assert "undone" in ok(desk, "registers", "proposals", "undo", batch["id"])[0]
    assert "seed-me" not in ok(desk, "assets")[0]
    assert "rejected" in ok(desk, "registers", "proposals", "reject", mine["id"])[0]
    assert "seed-me" in ok(desk, "registers", "proposals", "list", "--state", "all")[0]
    assert desk.run("registers", "seed", "--since", "soon")[0] == 2
    with desk.world.console.store.write() as session:
        from collector.registers.models_releases import Proposal

        session.execute(delete(Proposal))


def test_a_csv_file(desk: Desk) -> None:
    desk.login("it_staff")
    file = desk.path / "台帳.csv"
    file.write_bytes("資産番号,種類,製造番号\nCSV-1,媒体,S-1\nCSV-2,車,S-2\n".encode("cp932"))
    out, err = ok(desk, "registers", "import", "assets", str(file))
    assert "1 changes staged" in out
    assert "3\tkind\tkind is one of device, medium" in out
    batch = err.split("apply ")[1].split(";")[0]
    assert "CSV-1" in ok(desk, "registers", "import", "show", batch)[0]
    assert "CSV-1" not in ok(desk, "assets")[0]
    ok(desk, "registers", "import", "apply", batch)
    assert "CSV-1" in ok(desk, "assets")[0]
    assert f"{batch}\tapplied" in ok(desk, "registers", "import", "list")[0]
    ok(desk, "registers", "import", "undo", batch)
    code, _, err = desk.run("registers", "import", "undo", batch)
    assert (code, "[wrong_state]" in err) == (1, True)
    staged = json.loads(ok(desk, "registers", "import", "people", str(_people(desk)), "--json")[0])
    ok(desk, "registers", "import", "discard", staged["id"])
    file.write_text("id,colour\n", encoding="utf-8")
    code, _, err = desk.run("registers", "import", "assets", str(file))
    assert (code, "unknown column" in err) == (1, True)


def _people(desk: Desk) -> Path:
    file = desk.path / "people.csv"
    file.write_text("ログイン名,氏名,職\nabe,安部,section_head\n", encoding="utf-8-sig")
    return file
