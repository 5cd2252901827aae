import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.operator import keyfile
from collector.operator.keyfile import load_key, read_header, save_key
from protocol.keys import new_sign_pair
from protocol.refusal import RefusedError


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "MEMORY_KIB", 64)
    monkeypatch.setattr(keyfile, "PASSES", 1)


@pytest.mark.parametrize("passphrase", [None, "", "correct horse", "市長の合言葉"])
def test_a_key_comes_back(tmp_path: Path, passphrase: str | None) -> None:
    pair, path = new_sign_pair(), tmp_path / "ciso.key"
    save_key(path, pair, passphrase)
    assert load_key(path, passphrase) == pair
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (pair.seed in path.read_bytes()) == (passphrase is None)


def test_the_shipped_cost_is_rfc_9106s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    save_key(tmp_path / "k", new_sign_pair(), "x")
    header = read_header(tmp_path / "k")
    assert (header.memory_kib, header.passes, header.lanes) == (65536, 3, 4)


@pytest.mark.parametrize("given_passphrase", ["wrong", "", None])
def test_a_wrong_passphrase_is_refused_by_name(tmp_path: Path, given_passphrase: str | None) -> None:
    path = tmp_path / "ciso.key"
    save_key(path, new_sign_pair(), "right")
    with pytest.raises(RefusedError) as caught:
        load_key(path, given_passphrase)
    assert caught.value.name == "wrong_code"
    assert "right" not in str(caught.value)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ciso.key"
    save_key(path, pair := new_sign_pair(), None)
    with pytest.raises(FileExistsError):
        save_key(path, new_sign_pair(), None)
    assert load_key(path, None) == pair


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ciso.key"
    save_key(path, new_sign_pair(), None)
    path.chmod(0o640)
    with pytest.raises(RefusedError) as caught:
        load_key(path, None)
    assert caught.value.name == "foreign"


def test_an_exchanged_public_key_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ciso.key"
    save_key(path, new_sign_pair(), "x")
    header = read_header(path)
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(header, public=new_sign_pair().public)))
    with pytest.raises(RefusedError) as caught:
        load_key(path, "x")
    assert caught.value.name == "corrupt"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_never_gives_another_key(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("keys") / "k"
    pair = new_sign_pair()
    save_key(path, pair, "x")
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        # The cost fields are left alone: changed ones only make the attempt dear, which the schema bounds.
        at = data.draw(st.integers(raw.index(b"salt"), len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    try:
        loaded = load_key(path, "x")
    except RefusedError as error:
        refusal = error.name
    else:
        assert loaded == pair
        refusal = "corrupt"
    assert refusal in {"wrong_code", "corrupt"}
