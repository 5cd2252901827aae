"""A collector's data directory with a city in it, and its API."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import zstandard
from litestar import Litestar
from litestar.testing import TestClient
from sqlalchemy import select

from collector.console.accounts import add_operator
from collector.console.app import create_app
from collector.console.context import Console
from collector.console.roles import ROLES
from collector.desk.sample import SAMPLE
from collector.evidence.files import NewBatch
from collector.evidence.journal import Journal
from collector.registers.models import Agent, Alert, OrderRow, TrustDocument
from collector.registers.people import add_person
from collector.registers.store import migrate, now_us
from collector.search.index import BITS, IndexWriter
from protocol.events import Event, encode_event, join_encoded, kind_of
from protocol.keys import SignPair, new_curve_pair, new_sign_pair
from protocol.orders import Ground, Order, hash_code, sign_order
from protocol.signed import Signed, seal
from protocol.trust import OrderKey, TrustRoot, sign_root

START = 1_800_000_000_000_000
SECOND = 1_000_000
PASSWORD = "chrysanthemum-7"
TAX, WELFARE = "税務課", "福祉課"
PC1, PC2, PC3 = "aaaa" + "2" * 28, "aabb" + "3" * 28, "cccc" + "4" * 28


class World:
    """Four PCs (tax, welfare, one pending, one quarantined), people, an operator of each role, keys of everybody."""

    client: TestClient[Litestar]

    def __init__(self, data: Path, order_signatures: int = 1, *, real_clock: bool = False) -> None:
        self.data = data
        self.now_us = now_us() if real_clock else START
        (data / "run").mkdir(mode=0o700)
        migrate(data / "control.db")
        (data / "policy.yaml").write_text(SAMPLE, encoding="utf-8")
        self.root_key, self.policy_key = new_sign_pair(), new_sign_pair()
        self.ciso_key, self.deputy_key = new_sign_pair(), new_sign_pair()
        self.console = Console(data, now_us if real_clock else lambda: self.now_us)
        self._trust(order_signatures)
        self._people()
        self._hosts()
        self.tokens: dict[str, str] = {}
        self.app: Litestar = create_app(data, self.console)

    def _trust(self, order_signatures: int) -> None:
        root = TrustRoot(
            city="中市",
            serial=1,
            root_key=self.root_key.public,
            collector_key=new_curve_pair().public,
            policy_keys=(self.policy_key.public,),
            order_keys=(
                OrderKey(self.ciso_key.public, "ciso", "佐藤"),
                OrderKey(self.deputy_key.public, "deputy", "鈴木"),
            ),
            order_signatures=order_signatures,
            addresses=("192.0.2.1",),
        )
        with self.console.store.write() as session:
            document = msgspec.msgpack.encode(sign_root(root, self.root_key))
            session.add(TrustDocument(serial=1, document=document, created_us=START))

    def _people(self) -> None:
        with self.console.store.write() as session:
            add_person(session, "tanaka", "田中", section=TAX)
            add_person(
                session, "kato", "加藤", section=TAX, roles=["section_head", "network_manager", "ciso"]
            )
            add_person(session, "mori", "森", section=WELFARE, roles=["section_head"])
            for role in ROLES:
                section = TAX if role == "section_head" else ""
                person = "kato" if role == "section_head" else None
                add_operator(session, role, PASSWORD, role, now_us=START, section=section, person_id=person)

    def _hosts(self) -> None:
        with self.console.store.write() as session:
            for agent_id, name, section, status in (
                (PC1, "zeimu-01", TAX, "active"),
                (PC2, "fukushi-01", WELFARE, "active"),
                (PC3, "new-pc", "", "pending"),
                ("dddd" + "5" * 28, "clone-pc", WELFARE, "quarantined"),
            ):
                session.add(self._agent(agent_id, name, section, status))

    def _agent(self, agent_id: str, name: str, section: str, status: str) -> Agent:
        return Agent(
            id=agent_id,
            curve_key=secrets.token_bytes(32),
            sign_key=secrets.token_bytes(32),
            status=status,
            hostname=name,
            zone="lgwan" if section else "",
            section=section,
            enrolled_us=self.now_us,
            last_seen_us=self.now_us if status == "active" else 0,
            controls={"devices": "enforce", "execution": "unsupported"},
        )

    def order(
        self,
        target: str = PC1,
        kind: Literal["isolate", "restore"] = "isolate",
        *,
        pairs: tuple[SignPair, ...] = (),
        **changes: Any,
    ) -> Signed:
        """A signed order, valid unless ``changes`` make it otherwise."""
        order_id = changes.pop("order_id", f"{kind}-{secrets.token_hex(4)}")
        values: dict[str, Any] = {
            "order_id": order_id,
            "kind": kind,
            "city": "中市",
            "issuer": "佐藤",
            "target": target,
            "ground": Ground("nagoya", "第35条第4号"),
            "reason": "不審な通信",
            "issued_us": self.now_us,
            "valid_until_us": self.now_us + 3600 * SECOND,
            "nonce": secrets.token_bytes(16),
            "release_hash": hash_code(order_id, "2345-6789") if kind == "isolate" else b"",
            **changes,
        }
        return sign_order(Order(**values), pairs or (self.ciso_key,))

    def alert(
        self, agent_id: str = PC1, level: str = "high", person: str = "tanaka", seq: int | None = None
    ) -> int:
        """Store an alert; returns its id."""
        row = Alert(
            rule_id="unknown_device",
            agent_id=agent_id,
            person=person,
            level=level,
            title_ja="未許可の機器",
            title_en="device without a permit",
            citations=[{"ordinance": "nagoya", "article": "第35条第4号", "edition": "2016-04-01"}],
            action="blocked",
            kind="device.blocked",
            seq=seq,
            event={"kind": "process.started", "time_us": START, "user": person, "exe": f"/home/{person}/x"},
            event_us=self.now_us,
            stored_us=self.now_us,
            last_us=self.now_us,
        )
        with self.console.store.write() as session:
            session.add(row)
        return row.id

    def journal(self, agent_id: str, *events: Event) -> None:
        """Journal a batch and index it, as gateway and detector do."""
        store, index = Journal(self.data / "journal.db"), IndexWriter(self.data / "index.db")
        body = zstandard.ZstdCompressor().compress(join_encoded([encode_event(event) for event in events]))
        first = store.tail(agent_id).seq + 1
        batch = NewBatch(
            agent_id=agent_id,
            first_seq=first,
            count=len(events),
            prev_digest=bytes(32),
            digest=bytes(32),
            received_us=self.now_us,
            body=body,
            signature=bytes(64),
        )
        rowid = store.append_many([batch])
        times = [event.time_us for event in events]
        kinds = 0
        for event in events:
            kinds |= BITS[kind_of(event)]
        index.add([(rowid, agent_id, first, len(events), min(times), max(times), kinds)], rowid)
        store.close()
        index.close()

    def answer_next_order(self, states: tuple[str, ...], result: dict[str, Any]) -> None:
        """Wait for an order that nobody answered, and take it through ``states``."""
        ends = time.monotonic() + 15
        while time.monotonic() < ends:
            with self.console.store.read() as session:
                row = session.scalar(select(OrderRow).where(OrderRow.state == "desired"))
            if row is not None:
                for state in states:
                    self.result(row.id, state, **result)
                return
            threading.Event().wait(0.02)

    def result(self, order_id: str, state: str, **result: Any) -> None:
        """What the gateway records of an order."""
        with self.console.store.write() as session:
            row = session.get_one(OrderRow, order_id)
            row.state, row.result, row.result_us = state, result, self.now_us


class Caller:
    """One operator's connection to the API in process."""

    def __init__(self, world: World, role: str | None) -> None:
        self._client = client = world.client
        self._headers = {}
        if role is not None:
            if role not in world.tokens:
                answer = client.post("/api/v1/sessions", json={"name": role, "password": PASSWORD})
                world.tokens[role] = answer.json()["token"]
            self._headers = {"authorization": f"Bearer {world.tokens[role]}"}

    def call(self, method: str, path: str, body: object = None, **query: Any) -> httpx.Response:
        """One call below ``/api/v1``; the body may hold structs."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {**self._headers, "content-type": "application/json"}
        url = f"/api/v1{path}"
        return self._client.request(method, url, content=content, params=query, headers=headers)

    def get(self, path: str, **query: Any) -> Any:
        """GET that must succeed."""
        answer = self.call("GET", path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: object) -> Any:
        """POST that must succeed."""
        answer = self.call("POST", path, body)
        assert answer.is_success, answer.text
        return answer.json()

    def refused(self, method: str, path: str, body: object = None, **query: Any) -> tuple[int, str]:
        """Status and name of a call that must be refused."""
        answer = self.call(method, path, body, **query)
        problem = answer.json()
        assert set(problem) == {"name", "detail", "hint"}, problem
        return answer.status_code, problem["name"]


def release(caller: Caller, world: World, key: SignPair | None = None) -> httpx.Response:
    """Try the draft on stored events, fetch it, sign it, post it."""
    assert caller.post("/policy/backtests", {})["state"] == "done"
    body = msgspec.convert(caller.get("/policy/draft"), _DraftBody).body
    document = seal("policy", body, [key or world.policy_key])
    return caller.call("POST", "/policy/releases", {"document": document, "reason": "test"})


class _DraftBody(msgspec.Struct):
    body: bytes
