"""Filling the registers over the API: from what was seen, and from CSV files."""

from __future__ import annotations

import base64
from collections.abc import Callable

from protocol.events import DeviceAttached, MediaMounted
from tests.collector.console.test_releases import DAY, stick
from tests.collector.console.world import PC1, PC2, START, TAX, WELFARE, Caller, World

SignIn = Callable[[str | None], Caller]


def test_seen_media_and_devices_are_proposed_approved_and_undone(sign_in: SignIn, world: World) -> None:
    it = sign_in("it_staff")
    medium = MediaMounted(time_us=START - DAY, media_id="m-1", fs_type="vfat", size=8 << 30, removable=True)
    keyboard = DeviceAttached(time_us=START - DAY, device_id="k", device_class="input")
    world.journal(PC1, stick(1), medium, keyboard)
    world.journal(PC2, stick(1, days_ago=2))
    report = it.post("/registers/seed", {})["report"]
    assert (report["new"], report["known"], report["left_out"]) == (2, 0, 0)
    rows = it.get("/registers/proposals")
    assert [(row["kind"], row["pcs"]) for row in rows] == [("devices", 2), ("media", 1)]
    assert set(rows[0]["sections"]) == {TAX, WELFARE}
    again = it.post("/registers/seed", {})["report"]
    assert (again["new"], again["known"]) == (0, 2)
    assert it.refused("POST", "/registers/proposals/approve", {}) == (422, "bad_value")
    batch = it.post("/registers/proposals/approve", {"all": True, "min_pcs": 2})
    assert (batch["state"], batch["rows"]) == ("applied", 1)
    assert [asset["subject"]["serial"] for asset in it.get("/assets")] == ["S1"]
    assert any("of the city" in line for line in sign_in("ciso").get("/policy/diff")["lines"])
    it.post("/registers/proposals/reject", {"ids": [rows[1]["id"]]})
    assert it.post("/registers/seed", {})["report"]["new"] == 0
    assert it.get("/registers/proposals") == []
    undone = it.post(f"/registers/batches/{batch['id']}/undo", {})
    assert undone["state"] == "undone"
    assert it.get("/assets") == []
    assert [row["id"] for row in it.get("/registers/proposals")] == [rows[0]["id"]]
    assert it.refused("POST", f"/registers/batches/{batch['id']}/undo", {}) == (409, "wrong_state")


def test_a_csv_is_staged_applied_and_undone(sign_in: SignIn, world: World) -> None:
    it = sign_in("it_staff")
    text = "資産番号,種類,製造番号,課\nA-1,媒体,S1,税務課\nA-2,車,S2,税務課\n"
    content = base64.b64encode(text.encode("cp932")).decode()
    staged = it.post("/registers/imports", {"register": "assets", "name": "a.csv", "content": content})
    assert (staged["rows"], staged["left_out"], staged["bad"][0]["line"]) == (1, 1, 3)
    assert it.get("/assets") == [], "nothing is applied yet"
    it.post(f"/registers/batches/{staged['id']}/apply", {})
    assert [asset["id"] for asset in it.get("/assets")] == ["A-1"]
    again = it.post("/registers/imports", {"register": "assets", "content": content})
    assert (again["rows"], again["unchanged"]) == (0, 1)
    it.post(f"/registers/batches/{staged['id']}/undo", {})
    assert it.get("/assets") == []
    it.post(f"/registers/batches/{again['id']}/discard", {})
    assert {row["state"] for row in it.get("/registers/batches")} == {"undone", "discarded"}
    assert it.get(f"/registers/batches/{staged['id']}")["changes"][0]["key"] == "A-1"
    assert it.refused("GET", "/registers/batches/b-no") == (404, "not_found")
