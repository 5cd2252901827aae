"""Set-up of a collector: data directory, its own key, control database, first trust root, first account.

Root, policy and order keys are made or read here but never stored below the data directory: a collector that was broken
into can neither change trust, nor release a policy, nor order a cut.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from collector.config import Config, Layout, write_config, write_curve_key
from collector.desk.law import choose, keep_file
from collector.desk.sample import SAMPLE
from collector.operator.keyfile import public_text, save_key
from collector.registers.models import Setting, TrustDocument
from collector.registers.store import migrate, open_store
from policies.ordinance import Ordinance
from policies.shipped import shipped_ordinances
from protocol.keys import CurvePair, SignPair, new_curve_pair, new_sign_pair, write_private
from protocol.messages import Lane
from protocol.refusal import RefusedError
from protocol.trust import OrderKey, TrustRoot, sign_root

LONGEST_PATH = 80
"""Bytes of the data directory's name: a Unix socket path holds 107 (unix(7)), ours add up to 20."""
NEW_KEYS = ("root", "policy", "ciso", "deputy")
PORTS: dict[Lane, int] = {"enrol": 7460, "control": 7461, "data": 7462}


class Admin(Struct, frozen=True):
    """The first account."""

    name: str
    password: str
    role: str = "network_admin"

    def __repr__(self) -> str:
        """Name and role, never the password."""
        return f"Admin({self.name}, {self.role})"


class Plan(Struct, frozen=True, kw_only=True):
    """All that a set-up needs."""

    data: Path
    city: str
    ordinances: tuple[str, ...]
    """Ids; the common ground (``baseline``) goes with every city and need not be named."""
    ordinance_files: tuple[Path, ...] = ()
    """The city's own ordinances, or newer editions of shipped ones; they are copied."""
    addresses: tuple[str, ...]
    """Literal IP addresses under which PCs reach this collector."""
    root: SignPair
    policy_keys: tuple[bytes, ...]
    order_keys: tuple[OrderKey, ...]
    order_signatures: int = 1
    ports: dict[Lane, int] = msgspec.field(default_factory=PORTS.copy)
    config: Config = Config()
    admin: Admin


def check_plan(plan: Plan) -> None:
    """Refuse what could not work before anything is written. Raises RefusedError ``bad_value`` or ``already_there``."""
    from collector.console.accounts import SHORTEST_PASSWORD  # brings the web framework along

    if not plan.city:
        raise RefusedError("bad_value", "the city has no name", "--city 名古屋市")
    for address in plan.addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            raise RefusedError(
                "bad_value", f"{address} is not an IP address", "--address 10.0.0.10"
            ) from error
    if not plan.addresses:
        raise RefusedError("bad_value", "PCs need an address of this collector", "--address 10.0.0.10")
    chosen_ordinances(plan)
    if not 1 <= plan.order_signatures <= len(plan.order_keys):
        raise RefusedError(
            "bad_value",
            f"{plan.order_signatures} signatures asked of {len(plan.order_keys)} order keys",
            "--order-pub",
        )
    if len(plan.admin.password) < SHORTEST_PASSWORD:
        raise RefusedError("bad_value", f"the password is shorter than {SHORTEST_PASSWORD} characters")
    if len(str(plan.data.absolute()).encode()) > LONGEST_PATH:
        raise RefusedError(
            "bad_value", f"{plan.data} is longer than {LONGEST_PATH} bytes", "choose a shorter path"
        )
    if plan.data.exists() and any(plan.data.iterdir()):
        raise RefusedError(
            "already_there", f"{plan.data} is not empty", "another --data, or remove what lies there"
        )


def chosen_ordinances(plan: Plan) -> dict[str, Ordinance]:
    """The ordinances of a plan by id, in its order. Raises RefusedError ``bad_value``, for a file with the line."""
    return choose(shipped_ordinances(), plan.ordinances, plan.ordinance_files)


def set_up(plan: Plan, now_us: int) -> TrustRoot:
    """Make the data directory; what was made of it is removed when anything fails.

    Raises RefusedError (see :func:`check_plan`); OSError.
    """
    from collector.console.accounts import add_operator  # brings the web framework along

    check_plan(plan)
    layout = Layout(plan.data)
    with _whole_or_nothing(plan.data):
        for directory in (layout.data, layout.keys, layout.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.chmod(0o700)
        pair = new_curve_pair()
        write_curve_key(layout, pair)
        write_config(layout, plan.config)
        write_private(layout.policy, SAMPLE.encode())
        for path in plan.ordinance_files:
            keep_file(layout.data, path)
        root = _trust_root(plan, pair)
        document = msgspec.msgpack.encode(sign_root(root, plan.root))
        migrate(layout.control)
        store = open_store(layout.control)
        with store.write() as session:
            session.add(TrustDocument(serial=1, document=document, created_us=now_us))
            session.add(Setting(name="city", value=plan.city))
            session.add(Setting(name="ordinances", value=json.dumps(list(chosen_ordinances(plan)))))
            add_operator(session, plan.admin.name, plan.admin.password, plan.admin.role, now_us=now_us)
        store.close()
    return root


def _trust_root(plan: Plan, pair: CurvePair) -> TrustRoot:
    return TrustRoot(
        city=plan.city,
        serial=1,
        root_key=plan.root.public,
        collector_key=pair.public,
        policy_keys=plan.policy_keys,
        order_keys=plan.order_keys,
        order_signatures=plan.order_signatures,
        addresses=plan.addresses,
        enrol_port=plan.ports["enrol"],
        control_port=plan.ports["control"],
        data_port=plan.ports["data"],
    )


@contextlib.contextmanager
def _whole_or_nothing(data: Path) -> Iterator[None]:
    existed = data.exists()
    try:
        yield
    except BaseException:
        for one in list(data.iterdir()) if data.exists() else []:
            shutil.rmtree(one) if one.is_dir() else one.unlink()
        if not existed and data.exists():
            data.rmdir()
        raise


# -- keys ------------------------------------------------------------------------------------------------------------


def make_keys(directory: Path, passphrase: str | None) -> dict[str, SignPair]:
    """Make root, policy, CISO and deputy keys in ``directory`` (0700): ``NAME.key`` (0600) and ``NAME.pub``.

    Raises FileExistsError when one is there already; nothing is made then.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in NEW_KEYS:
        if (directory / f"{name}.key").exists():
            raise FileExistsError(f"{directory / name}.key exists; a key is never overwritten")
    pairs = {}
    for name in NEW_KEYS:
        pairs[name] = new_sign_pair()
        save_key(directory / f"{name}.key", pairs[name], passphrase)
        (directory / f"{name}.pub").write_text(public_text(pairs[name].public, name), encoding="ascii")
    return pairs
