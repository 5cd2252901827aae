"""A stolen collector cannot choose what a change is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.operator import keyfile
from collector.operator.keyfile import public_text, save_key
from collector.operator.known_base import known_base
from policies.bundle import seal_bundle
from policies.model import Bundle
from protocol.keys import SignPair, new_sign_pair
from tests.collector.operator.conftest import Desk

BUNDLE = Bundle(
    city="中市", generation=3, issued_us=1, expires_us=2, ordinances=(), rules=(), permits=(), zones=(), settings={}
)  # fmt: skip


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, SignPair]:
    monkeypatch.setattr(keyfile, "MEMORY_KIB", 64)
    monkeypatch.setattr(keyfile, "PASSES", 1)
    pair = new_sign_pair()
    save_key(tmp_path / "policy.key", pair, "a passphrase of some length")
    return tmp_path / "policy.key", pair


def test_own_signature_is_enough(key: tuple[Path, SignPair]) -> None:
    path, pair = key
    assert known_base(seal_bundle(BUNDLE, [pair]), path) == BUNDLE


def test_a_colleagues_counts_once_their_public_key_lies_beside(key: tuple[Path, SignPair]) -> None:
    path, _ = key
    colleague = new_sign_pair()
    document = seal_bundle(BUNDLE, [colleague])
    assert known_base(document, path) is None
    (path.parent / "mori.pub").write_text(public_text(colleague.public, "mori"))
    assert known_base(document, path) == BUNDLE


def test_no_signature_or_a_wrong_one_is_nothing(key: tuple[Path, SignPair]) -> None:
    path, pair = key
    assert known_base(seal_bundle(BUNDLE, []), path) is None
    good = seal_bundle(BUNDLE, [pair])
    other = seal_bundle(BUNDLE, [new_sign_pair()])
    assert known_base(type(good)(other.body + b"\0", good.signatures), path) is None


def test_everything_is_shown_when_the_base_is_strange(desk: Desk) -> None:
    """Somebody else's key signs next: the operator sees the whole policy, not the difference to what is handed out."""
    desk.login("network_admin")
    words = ("--reason", "first", "--without-backtest", "nothing is stored", "--yes", "--renew")
    assert desk.run("policy", "release", *desk.key("policy"), *words)[0] == 0
    code, _, err = desk.run("policy", "release", *desk.key("ciso"), *words)
    assert code == 1
    assert "signed by none" in err
    assert err.count("\n  + ") > 5
