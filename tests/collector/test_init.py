"""Set-up: what lies there afterwards, and what is refused before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from collector.config import Layout, read_config, read_curve_key
from collector.console.accounts import sign_in
from collector.desk.law import installed_ordinances
from collector.desk.site import load_site
from collector.init import Admin, Plan, make_keys, set_up
from collector.operator.keyfile import load_key, public_text, read_public
from collector.registers.models import Setting, TrustDocument
from collector.registers.store import now_us, open_store
from protocol.keys import fingerprint, new_sign_pair
from protocol.refusal import RefusedError
from protocol.signed import Signed
from protocol.trust import OrderKey, first_root
from tests.collector.town import TOWN

PASSWORD = "correct horse battery staple"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        data=tmp_path / "c",
        city="試験市",
        ordinances=("nagoya", "baseline"),
        addresses=("192.0.2.1", "2001:db8::1"),
        root=new_sign_pair(),
        policy_keys=(new_sign_pair().public,),
        order_keys=(OrderKey(new_sign_pair().public, "ciso", "市長"),),
        admin=Admin("admin", PASSWORD),
    )


def test_what_a_set_up_leaves(plan: Plan) -> None:
    root = set_up(plan, now_us())
    layout = Layout(plan.data)
    for path in [plan.data, *plan.data.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
    assert read_curve_key(layout).public == root.collector_key
    assert read_config(layout) == plan.config
    assert load_site(layout.policy).zones
    store = open_store(layout.control)
    with store.read() as session:
        row = session.get_one(TrustDocument, 1)
        document = msgspec.msgpack.decode(row.document, type=Signed)
        assert first_root(document, fingerprint(plan.root.public)) == root
        assert json.loads(session.get_one(Setting, "ordinances").value) == ["nagoya", "baseline"]
    assert sign_in(store, "admin", PASSWORD, now_us())[2].role == "network_admin"
    store.close()


def test_several_ordinances_and_one_of_the_citys_own(plan: Plan, tmp_path: Path) -> None:
    file = tmp_path / "our-rules-2020.yaml"
    file.write_text(TOWN, encoding="utf-8")
    set_up(replace(plan, ordinances=("nagoya", "nerima"), ordinance_files=(file,)), now_us())
    own = plan.data / "ordinances" / "town.yaml"
    assert (own.read_text(encoding="utf-8"), own.stat().st_mode & 0o077) == (TOWN, 0)
    assert installed_ordinances(plan.data)["town"].edition == "2020-04-01"
    store = open_store(Layout(plan.data).control)
    with store.read() as session:
        assert json.loads(session.get_one(Setting, "ordinances").value) == ["nagoya", "nerima", "town"]
    store.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TOWN.replace("enforce", "enforced"), "own.yaml:6: "),
        (TOWN.replace("id: town", "id: nagoya"), "named twice"),
        ("", "own.yaml:1: "),
    ],
)
def test_a_wrong_ordinance_file_is_refused_before_anything_is_written(
    plan: Plan, tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RefusedError) as refused:
        set_up(replace(plan, ordinance_files=(file,)), now_us())
    assert refused.value.name == "bad_value"
    assert says in refused.value.detail
    assert not plan.data.exists()


def test_no_private_key_of_people_lies_in_the_data_directory(plan: Plan) -> None:
    set_up(plan, now_us())
    seeds = [plan.root.seed]
    for path in plan.data.rglob("*"):
        if path.is_file():
            assert not any(seed in path.read_bytes() for seed in seeds), path
    assert PASSWORD not in repr(plan)


WRONG: list[tuple[str, Callable[[Plan], Plan]]] = [
    ("no city", lambda plan: replace(plan, city="")),
    ("a name for an address", lambda plan: replace(plan, addresses=("collector.example",))),
    ("no address", lambda plan: replace(plan, addresses=())),
    ("an unknown ordinance", lambda plan: replace(plan, ordinances=("atlantis",))),
    ("an ordinance twice", lambda plan: replace(plan, ordinances=("nagoya", "nagoya"))),
    ("more signatures than keys", lambda plan: replace(plan, order_signatures=2)),
    ("a short password", lambda plan: replace(plan, admin=Admin("admin", "short"))),
    ("too long a path", lambda plan: replace(plan, data=plan.data / ("x" * 80))),
]


@pytest.mark.parametrize("spoil", [case[1] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_plan_that_cannot_work_is_refused_before_anything_is_written(
    plan: Plan, spoil: Callable[[Plan], Plan]
) -> None:
    wrong = spoil(plan)
    with pytest.raises(RefusedError) as caught:
        set_up(wrong, now_us())
    assert caught.value.name == "bad_value"
    assert not wrong.data.exists()


def test_a_failure_half_way_leaves_nothing(plan: Plan) -> None:
    with pytest.raises(RefusedError):
        set_up(replace(plan, admin=Admin("admin", PASSWORD, "emperor")), now_us())
    assert not plan.data.exists()


def test_a_directory_that_holds_something_is_left_alone(plan: Plan) -> None:
    plan.data.mkdir()
    (plan.data / "precious").write_text("x", encoding="ascii")
    with pytest.raises(RefusedError) as caught:
        set_up(plan, now_us())
    assert caught.value.name == "already_there"
    assert (plan.data / "precious").read_text(encoding="ascii") == "x"


def test_new_keys_can_be_opened_and_are_never_overwritten(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    pairs = make_keys(keys, "a passphrase")
    assert set(pairs) == {"root", "policy", "ciso", "deputy"}
    for name, pair in pairs.items():
        assert load_key(keys / f"{name}.key", "a passphrase") == pair
        assert read_public(keys / f"{name}.pub") == pair.public
        assert (keys / f"{name}.key").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        make_keys(keys, None)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, public_text(bytes(32)).replace("0", "1", 1), "\xff"])
def test_a_damaged_public_key_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.pub"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RefusedError) as caught:
        read_public(path)
    assert caught.value.name == "corrupt"


def test_settings_that_do_not_exist_are_refused_with_the_file(plan: Plan) -> None:
    set_up(plan, now_us())
    layout = Layout(plan.data)
    layout.config.write_text("api_prot = 7480\n", encoding="utf-8")
    with pytest.raises(RefusedError) as caught:
        read_config(layout)
    assert "collector.toml" in caught.value.detail
    assert "api_prot" in caught.value.detail
