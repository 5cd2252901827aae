"""Checks of what the data directory holds: keys, trust, databases, policy."""

from __future__ import annotations

import contextlib

import msgspec
from sqlalchemy import func, select

from collector.checks.answer import Answer, ok, reading, root_of
from collector.config import Layout, read_curve_key
from collector.desk.law import LawBook
from collector.desk.release import current_release, document_of
from collector.desk.site import load_site
from collector.desk.trust import trust_in_force
from collector.evidence.files import open_reader, set_aside_files
from collector.registers.models import Operator, TrustDocument
from collector.registers.store import needs_migration, now_us
from policies.bundle import open_bundle
from protocol.keys import fingerprint
from protocol.signed import Signed
from protocol.text import Text
from protocol.trust import first_root

SOON_US = 30 * 86_400_000_000


def own_key(layout: Layout) -> Answer:
    """It is there, and the one PCs believe."""
    pair = read_curve_key(layout)
    if pair.public != root_of(layout).collector_key:
        return (
            "fail",
            "not the key that the trust root names",
            Text("控えから戻す", "restore it from the back-up"),
        )
    return ok(fingerprint(pair.public))


def control_db(layout: Layout) -> Answer:
    """It is sound and of this program's revision."""
    if needs_migration(layout.control):
        return (
            "fail",
            "another revision than this program's",
            Text("sekisho-collector migrate", "sekisho-collector migrate"),
        )
    with contextlib.closing(open_reader(layout.control)) as database:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        return "fail", str(verdict), Text("控えから戻す", "restore it from the back-up")
    return ok()


def trust(layout: Layout) -> Answer:
    """The first root is signed by the root key."""
    with reading(layout) as session:
        row = session.scalar(select(TrustDocument).order_by(TrustDocument.serial).limit(1))
        root = trust_in_force(session)
    first = msgspec.msgpack.decode(row.document if row else b"", type=Signed)
    first_root(first, fingerprint(root.root_key))
    return ok(f"serial {root.serial}, root {fingerprint(root.root_key)}, {', '.join(root.addresses)}")


def journal(layout: Layout) -> Answer:
    """It can be read, and no damaged file lies beside it."""
    aside = sorted(str(path.name) for path in set_aside_files(layout.journal).values())
    if layout.journal.exists():
        with contextlib.closing(open_reader(layout.journal)) as database:
            database.execute("SELECT max(id) FROM batches").fetchone()
    if aside:
        return (
            "warn",
            ", ".join(aside),
            Text(
                "壊れたファイルが残っています。控えを取り、ディスクを調べる",
                "damaged files were set aside: save them, examine the disk",
            ),
        )
    return ok()


def policy(layout: Layout) -> Answer:
    """A release is in force, verifies, and does not end soon."""
    with reading(layout) as session:
        root, release = trust_in_force(session), current_release(session)
    if release is None:
        return (
            "warn",
            "none",
            Text("sekisho policy apply --key policy.key", "sekisho policy apply --key policy.key"),
        )
    bundle, digest = open_bundle(document_of(release), root.policy_keys, city=root.city, now_us=now_us())
    detail = f"{bundle.generation}:{digest[:12]}"
    if bundle.expires_us - now_us() < SOON_US:
        return (
            "warn",
            f"{detail} ends within 30 days",
            Text("新しく配布する: sekisho policy apply", "release anew: sekisho policy apply"),
        )
    return ok(detail)


def site_file(layout: Layout) -> Answer:
    """It has no mistakes, nor have the city's own ordinances."""
    LawBook(layout.policy).fresh()
    site = load_site(layout.policy)
    return ok(", ".join(zone.name for zone in site.zones))


def accounts(layout: Layout) -> Answer:
    """Somebody can sign in."""
    with reading(layout) as session:
        active = session.scalar(select(func.count()).where(Operator.active)) or 0
    if not active:
        return "fail", "0", Text("sekisho-collector operators add", "sekisho-collector operators add")
    return ok(str(active))
