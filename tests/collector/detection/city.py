"""A small city on disk for detector tests: data directory, trust root, released policy, journal."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import zstandard
from sqlalchemy import select

from collector.evidence.files import NewBatch
from collector.evidence.journal import Journal
from collector.registers.models import Alert, Release, TrustDocument
from collector.registers.store import migrate, open_store
from policies.bundle import bundle_digest, seal_bundle
from policies.model import (
    Assignment,
    Bundle,
    Citation,
    Compare,
    Correlation,
    Permit,
    Rule,
    Scope,
    Subject,
    Zone,
)
from protocol.events import Event, encode_event, join_encoded
from protocol.keys import new_curve_pair, new_sign_pair
from protocol.trust import OrderKey, TrustRoot, sign_root

T0 = 1_800_000_000_000_000
ARTICLE = Citation("nagoya", "第35条第4号", "2016-04-01")


def rule(rule_id: str, family: str, predicate: object, level: str = "high", version: str = "1") -> Rule:
    return Rule(
        id=rule_id,
        version=version,
        title_ja=f"規則{rule_id}",
        title_en=f"rule {rule_id}",
        family=family,
        control=None,
        effect="flag",
        level=level,  # type: ignore[arg-type]
        citations=(ARTICLE,),
        predicate=predicate,  # type: ignore[arg-type]
    )


UNPERMITTED = rule("unpermitted", "device", Compare("permit", "eq", ("none",)))
ANY_DEVICE = rule("any_device", "device", Compare("kind", "eq", ("device.attached",)))


def permit(device_id: str, *agents: str, until_us: int = T0 * 2) -> Permit:
    return Permit(
        id=f"permit-{device_id}",
        kind="device",
        subject=Subject(device_id=device_id),
        scope=Scope(agents=agents),
        from_us=0,
        until_us=until_us,
        article=ARTICLE,
    )


class City:
    """The data directory of a collector without its other processes."""

    def __init__(self, data: Path, rules: Sequence[Rule] = (), permits: Sequence[Permit] = ()) -> None:
        self.data = data
        (data / "run").mkdir(parents=True, exist_ok=True)
        migrate(data / "control.db")
        self.store = open_store(data / "control.db")
        self.journal = Journal(data / "journal.db")
        self._policy_key = new_sign_pair()
        self._next: dict[str, int] = {}
        self._generation = itertools.count(1)
        self._found()
        if rules:
            self.release(rules, permits)

    def _found(self) -> None:
        root_key = new_sign_pair()
        root = TrustRoot(
            city="naka",
            serial=1,
            root_key=root_key.public,
            collector_key=new_curve_pair().public,
            policy_keys=(self._policy_key.public,),
            order_keys=(OrderKey(new_sign_pair().public, "ciso", "CISO"),),
            addresses=("192.0.2.1",),
        )
        with self.store.write() as session:
            document = msgspec.msgpack.encode(sign_root(root, root_key))
            session.add(TrustDocument(serial=1, document=document, created_us=T0))

    def release(
        self,
        rules: Sequence[Rule],
        permits: Sequence[Permit] = (),
        *,
        correlations: Sequence[Correlation] = (),
        forged: bool = False,
    ) -> None:
        generation = next(self._generation)
        bundle = Bundle(
            city="naka",
            generation=generation,
            issued_us=T0,
            expires_us=T0 + 1,
            ordinances=("nagoya",),
            rules=tuple(rules),
            permits=tuple(permits),
            correlations=tuple(correlations),
            zones=(Zone(name="lgwan", title_ja="LGWAN接続系", title_en="LGWAN"),),
            settings={},
            assignments={"pc1": Assignment("lgwan", "税務課")},
        )
        signed = seal_bundle(bundle, [new_sign_pair() if forged else self._policy_key])
        row = Release(
            generation=generation,
            status="released",
            document=msgspec.msgpack.encode(signed),
            digest=bundle_digest(signed),
            created_us=T0,
            created_by="it",
        )
        with self.store.write() as session:
            session.add(row)

    def send(self, agent_id: str, events: Iterable[Event], *, received_us: int = T0 * 2) -> int:
        """Journal a batch; returns its first sequence number."""
        batch = self._batch(agent_id, *packed(events), received_us=received_us)
        self.journal.append_many([batch])
        return batch.first_seq

    def send_all(self, batches: Iterable[tuple[str, Iterable[Event]]]) -> None:
        """Journal many batches in one transaction."""
        self.journal.append_many([self._batch(agent_id, *packed(events)) for agent_id, events in batches])

    def send_body(self, agent_id: str, body: bytes, count: int, *, received_us: int = T0 * 2) -> int:
        batch = self._batch(agent_id, body, count, received_us=received_us)
        self.journal.append_many([batch])
        return batch.first_seq

    def _batch(self, agent_id: str, body: bytes, count: int, *, received_us: int = T0 * 2) -> NewBatch:
        first = self._next.get(agent_id, 1)
        self._next[agent_id] = first + count
        return NewBatch(
            agent_id=agent_id,
            first_seq=first,
            count=count,
            prev_digest=bytes(32),
            digest=hashlib.sha256(body).digest(),
            received_us=received_us,
            body=body,
            signature=bytes(64),
        )

    def alerts(self) -> list[Alert]:
        with self.store.read() as session:
            return list(session.scalars(select(Alert).order_by(Alert.id)))

    def close(self) -> None:
        self.journal.close()
        self.store.close()


def packed(events: Iterable[Event]) -> tuple[bytes, int]:
    """A batch body, and how many events it holds."""
    encoded = [encode_event(event) for event in events]
    return zstandard.ZstdCompressor().compress(join_encoded(encoded)), len(encoded)
