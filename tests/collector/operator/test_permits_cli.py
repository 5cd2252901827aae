"""``sekisho applications`` and ``sekisho permits``: from asking to revoking, as an operator types it."""

import json
from collections.abc import Collection
from typing import Any

import pytest
from msgspec.structs import replace

from collector.desk.permit_bundle import without
from policies.model import Bundle
from tests.collector.console.world import PC1
from tests.collector.operator.conftest import Desk

GROUND = ("--ground", "nagoya:第35条第4号", "--approver", "kato", "--reason", "要る")


def said(desk: Desk, *words: str) -> Any:
    code, out, err = desk.run(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def ask(desk: Desk, device: str, *words: str) -> str:
    return str(
        said(
            desk, "applications", "add", "device", "--what", f"device_id={device}", "--applicant", "tanaka",
            "--purpose", "現地調査", "--days", "30", "--host", "zeimu-01", *words,
        )["id"]
    )  # fmt: skip


@pytest.fixture
def released(desk: Desk) -> Desk:
    """A desk whose city has a policy in force."""
    desk.login("network_admin")
    code, _, err = desk.run("policy", "apply", *desk.key("policy"), "--renew", "--yes")
    assert code == 0, err
    return desk


def test_asked_examined_granted_used_and_revoked(released: Desk) -> None:
    desk = released
    asked = ask(desk, "cli-1")
    assert asked in desk.run("applications", "list")[1]
    assert "kato (network_manager section_head)" in desk.run("applications", "list", "--section", "税務課")[1]
    assert desk.run("applications", "examine", asked, "--note", "台帳と一致", "--by", "kato")[0] == 0
    terms = ("--read-only", "--condition", "施錠保管", "--until", "7d", *desk.key("policy"), "--yes")
    granted = said(desk, "applications", "grant", asked, *GROUND, *terms)
    permit = granted["permit"]
    assert (granted["release_due"], permit["conditions"], permit["scope"]) == (
        False,
        ["施錠保管"],
        {"agents": [PC1]},
    )
    code, out, _ = desk.run("permits", "show", permit["id"])
    assert (code, "read_only / 施錠保管" in out, "grant" in out) == (0, True, True)
    assert said(desk, "permits", "use", permit["id"]) == []
    shown = said(desk, "applications", "show", asked)
    assert [one["step"] for one in shown["trail"]] == ["apply", "examine", "grant"]
    assert "applied" in desk.run("--lang", "en", "applications", "show", asked)[1]
    assert "申請中" in desk.run("--lang", "ja", "applications", "show", asked)[1]
    code, out, err = desk.run(
        "permits", "revoke", permit["id"], "--reason", "紛失", *desk.key("policy"), "--yes"
    )
    assert (code, f"- permit {permit['id']}" in err, "released generation" in out) == (0, True, True)
    assert permit["id"] in desk.run("permits", "list", "--state", "revoked")[1]
    code, _, err = desk.run("permits", "revoke", permit["id"], "--reason", "紛失")
    assert (code, "[already_there]" in err) == (1, True)


def test_refused_withdrawn_and_listed(released: Desk) -> None:
    desk = released
    no, gone = ask(desk, "cli-2"), ask(desk, "cli-3")
    desk.login("section_head")
    assert {no, gone} <= {one["id"] for one in said(desk, "applications", "list", "--mine-to-decide")}
    assert said(desk, "applications", "refuse", no, "--reason", "市の媒体を使うこと")["state"] == "refused"
    assert said(desk, "applications", "withdraw", gone, "--reason", "不要")["state"] == "withdrawn"
    assert not {no, gone} & {one["id"] for one in said(desk, "applications", "list")}
    assert {no, gone} <= {one["id"] for one in said(desk, "applications", "list", "--state", "all")}
    code, _, err = desk.run("applications", "grant", no, *GROUND)
    assert (code, "[wrong_state]" in err) == (1, True)


def test_expiring_permits_are_renewed(released: Desk) -> None:
    desk = released
    whom = ("--applicant", "tanaka", *GROUND)
    row = said(desk, "permits", "grant", "medium", "--what", "fs_uuid=cli-4", *whom, "--until", "5d")[
        "permit"
    ]
    assert row["id"] in desk.run("permits", "list", "--expiring", "30d")[1]
    renewal = ("--approver", "kato", "--reason", "継続", "--until", "60d")
    new = said(desk, "permits", "renew", row["id"], *renewal)
    assert (new["release_due"], new["permit"]["renews"], new["permit"]["from_us"]) == (
        True,
        row["id"],
        row["until_us"],
    )
    assert row["id"] not in {one["id"] for one in said(desk, "permits", "list", "--expiring", "30d")}
    (generation,) = said(desk, "permits", "release", *desk.key("policy"), "--yes")
    assert generation["ring"] == ""
    code, _, err = desk.run("permits", "release", *desk.key("policy"), "--yes")
    assert (code, "nothing was released" in err) == (0, True)


def test_contractors_and_take_outs(released: Desk) -> None:
    desk = released
    whom = ("--applicant", "tanaka", "--approver", "kato", "--reason", "保守", "--until", "30d")
    contract = ("--contract", "number=R8-12", "--contract", "supervisor=kato", "--contract", "place=4階")
    hired = (
        "permits",
        "grant",
        "contractor",
        "--what",
        "account=ext1",
        *whom,
        "--ground",
        "nagoya:第32条の2",
    )
    code, _, err = desk.run(*hired)
    assert (code, "[no_contract]" in err) == (1, True)
    assert said(desk, *hired, *contract)["permit"]["contract"]["place"] == "4階"
    out = ("permits", "grant", "take_out", "--serial", "4C53", *whom, "--ground", "nagoya:第32条")
    code, _, err = desk.run(*out)
    assert (code, "[no_basis]" in err) == (1, True)
    assert said(desk, *out, "--basis", "blanket")["permit"]["basis"] == "blanket"


@pytest.mark.parametrize("what", ["serial", "=x", "port=http"])
def test_what_cannot_be_read_is_wrong_usage(released: Desk, what: str) -> None:
    words = ("--applicant", "tanaka", "--purpose", "x", "--days", "1")
    assert released.run("applications", "add", "device", "--what", what, *words)[0] == 2


def test_a_collector_that_would_have_more_signed_is_caught(released: Desk) -> None:
    """Here the desk of a compromised collector changes a setting as it takes a permit away."""
    desk = released
    whom = ("--applicant", "tanaka", *GROUND, "--until", "5d", *desk.key("policy"), "--yes")
    one = said(desk, "permits", "grant", "device", "--device-id", "cli-5", *whom)["permit"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collector.desk.permit_desk.without", _more)
        code, _, err = desk.run("permits", "revoke", one["id"], "--reason", "x", *desk.key("policy"), "--yes")
    assert (code, "[foreign]" in err) == (1, True)
    assert said(desk, "permits", "release", "--revoked", *desk.key("policy"), "--yes")


def _more(bundle: Bundle, gone: Collection[str], generation: int, now_us: int) -> Bundle:
    less = without(bundle, gone, generation, now_us)
    return replace(less, not_permittable=("everything",))
