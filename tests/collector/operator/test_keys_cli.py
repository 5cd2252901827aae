"""Keys on the command line: made, shown, given another passphrase, refused where they may not sign."""

import json

import pytest

from collector.operator.keyfile import load_key, read_public
from protocol.refusal import RefusedError
from tests.collector.operator.conftest import CUT, PASSPHRASE, Desk


def test_keys_that_may_not_sign_are_refused_before_anything_is_posted(desk: Desk) -> None:
    desk.login("ciso")
    before = desk.run("orders", "--json")[1]
    code, _, err = desk.run("isolate", "zeimu-01", *CUT, *desk.key("policy"), "--yes")
    assert (code, "[foreign]" in err, "佐藤 (ciso)" in err) == (1, True, True)
    desk.passphrase.write_text("wrong\n", encoding="utf-8")
    code, _, err = desk.run("isolate", "zeimu-01", *CUT, *desk.key("ciso"), "--yes")
    assert (code, "[wrong_code]" in err) == (1, True)
    code, _, err = desk.run("isolate", "aa", *CUT, *desk.key("ciso"), "--yes")
    assert (code, "[not_found]" in err) == (1, True)
    code, _, err = desk.run("isolate", "nobody", *CUT, "--key", "/nowhere", "--yes")
    assert code == 1
    assert desk.run("orders", "--json")[1] == before


def test_keys_are_made_and_shown(desk: Desk) -> None:
    path = desk.path / "new.key"
    code, out, _ = desk.run("keys", "new", str(path), "--passphrase-file", str(desk.passphrase), "--json")
    made = json.loads(out)
    assert code == 0
    assert json.loads(desk.run("keys", "show", str(path), "--json")[1]) == {**made, "closed": True}
    assert PASSPHRASE.encode() not in path.read_bytes()
    assert read_public(desk.path / "new.pub").hex() == made["public"]
    assert desk.run("keys", "new", str(path), "--no-passphrase")[0] == 1


def test_a_key_gets_another_passphrase(desk: Desk) -> None:
    path, other = desk.path / "new.key", desk.path / "other"
    other.write_text("another passphrase\n")
    other.chmod(0o600)
    desk.run("keys", "new", str(path), "--passphrase-file", str(desk.passphrase))
    pair = load_key(path, PASSPHRASE)
    wrong = ("--passphrase-file", str(other), "--new-passphrase-file", str(other))
    assert desk.run("keys", "passphrase", str(path), *wrong)[0] == 1
    right = ("--passphrase-file", str(desk.passphrase), "--new-passphrase-file", str(other))
    assert desk.run("keys", "passphrase", str(path), *right)[0] == 0
    assert load_key(path, "another passphrase") == pair
    with pytest.raises(RefusedError, match="wrong_code"):
        load_key(path, PASSPHRASE)
