"""init: make a collector."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from msgspec.structs import replace

from collector.cli.common import DATA, Data
from collector.cli.operators import read_password
from collector.cli.ordinances import is_file
from collector.config import Config, Layout
from collector.init import PORTS, Admin, Plan, check_plan, chosen_ordinances, make_keys, set_up
from collector.operator import output
from collector.operator.commands.common import Json, PassphraseFile, open_key, read_passphrase
from collector.operator.keyfile import read_public
from collector.operator.texts import NEW_PASSPHRASE, say, t
from collector.registers.store import now_us
from protocol.keys import SignPair, fingerprint
from protocol.messages import Lane
from protocol.text import Text
from protocol.trust import OrderKey, Role, TrustRoot

INITIALISED = Text(
    "{city} の収集サーバーを {data} に用意しました。ルート鍵の指紋 {root}\n\n次にすること:\n"
    "1. 鍵をこの機械から移す: root.key は金庫へ、policy.key はネットワーク管理者へ、ciso.key と deputy.key は本人へ。"
    "移したらここから消す（この機械に置いたままでは、破られたときに切断も解除もされてしまいます）\n"
    "2. 区域と通信先を {policy} に書く\n"
    "3. sekisho-collector check-config --data {data}\n"
    "4. sekisho-collector run --data {data} （systemd: systemctl enable --now sekisho-collector）\n"
    "5. 端末の登録票を作る: sekisho-collector tokens create --zone 区域 --uses 台数\n"
    "6. 端末に agent を入れて登録し、方針を配る: sekisho policy apply --key policy.key",
    "collector of {city} is set up in {data}; fingerprint of the root key {root}\n\nwhat to do next:\n"
    "1. move the keys off this machine: root.key into the safe, policy.key to the network administrator, ciso.key and "
    "deputy.key to their holders; then remove them here (left here, whoever breaks in could cut and release)\n"
    "2. write zones and destinations into {policy}\n"
    "3. sekisho-collector check-config --data {data}\n"
    "4. sekisho-collector run --data {data} (systemd: systemctl enable --now sekisho-collector)\n"
    "5. make tokens for the PCs: sekisho-collector tokens create --zone ZONE --uses N\n"
    "6. install and enrol the agents, release a policy: sekisho policy apply --key policy.key",
)
ORDINANCES = Text(
    "条例と版: {names}（共通基準 baseline はいつも効きます）",
    "ordinances and editions: {names} (the common baseline is always in force)",
)
OPEN_KEYS = Text(
    "警告: 鍵は合言葉なしで作りました。すぐに移し、持ち主が合言葉を付けてください",
    "warning: the keys were made without a passphrase; move them now",
)

HOLDERS: tuple[Role, ...] = ("ciso", "deputy")
NO_KEY = SignPair(bytes(32), bytes(32))


def _option(ja: str, en: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=t(ja, en), metavar=metavar)


City = Annotated[str, _option("市区町村の名", "name of the city")]
Ordinances = Annotated[
    list[str],
    _option(
        "条例の id かファイル（繰り返せる。重なるところは厳しいほうによる）",
        "ordinance, by id or as a file (may be repeated; where two speak, the stricter holds)",
        "--ordinance",
    ),
]
Addresses = Annotated[
    list[str],
    _option(
        "端末から見た IP アドレス（繰り返せる）", "IP address PCs reach it by (may be repeated)", "--address"
    ),
]
NewKeys = Annotated[
    Path | None, _option("鍵一式をここに作る", "make all keys in this directory", metavar="DIR")
]
RootKey = Annotated[Path | None, _option("ルート鍵のファイル", "file of the root key")]
PolicyPub = Annotated[
    list[Path] | None, _option("方針の公開鍵（繰り返せる）", "public policy key (may be repeated)")
]
OrderPub = Annotated[
    list[str] | None,
    _option("命令の公開鍵（繰り返せる）", "public order key (may be repeated)", metavar="FILE:ROLE:HOLDER"),
]
OrderSignatures = Annotated[
    int, typer.Option(min=1, max=4, help=t("命令に要る署名の数", "signatures an order needs"))
]
AdminName = Annotated[str, _option("最初のアカウント名", "name of the first account")]
AdminRole = Annotated[str, _option("その役割", "its role")]
AdminPassword = Annotated[
    Path | None, _option("そのパスワードのファイル (0600)", "file of its password (0600)")
]
Bind = Annotated[
    list[str] | None, _option("待ち受けるアドレス（* = すべて）", "address to listen on (* = all)")
]
Ports = Annotated[str, _option("登録,制御,データのポート", "ports of enrol,control,data")]
ApiPort = Annotated[int, typer.Option(min=1, max=65535, help=t("API のポート", "port of the API"))]


def init(
    *,
    city: City,
    ordinance: Ordinances,
    address: Addresses,
    new_keys: NewKeys = None,
    root_key: RootKey = None,
    policy_pub: PolicyPub = None,
    order_pub: OrderPub = None,
    order_signatures: OrderSignatures = 1,
    passphrase_file: PassphraseFile = None,
    admin: AdminName = "admin",
    admin_role: AdminRole = "network_admin",
    admin_password_file: AdminPassword = None,
    bind: Bind = None,
    ports: Ports = "7460,7461,7462",
    api_port: ApiPort = 7480,
    data: Data = DATA,
    json: Json = False,
) -> None:
    """Set up a collector."""
    plan = Plan(
        data=data,
        city=city,
        ordinances=tuple(one for one in ordinance if not is_file(one)),
        ordinance_files=tuple(Path(one) for one in ordinance if is_file(one)),
        addresses=tuple(address),
        root=NO_KEY,
        policy_keys=(),
        order_keys=(),
        ports=_ports(ports),
        config=Config(bind=tuple(bind or ("*",)), api_port=api_port),
        admin=Admin(admin, read_password(admin_password_file), admin_role),
        order_signatures=order_signatures,
    )
    if new_keys is not None:
        plan = _with_new_keys(plan, new_keys, passphrase_file)
    elif root_key is not None and policy_pub and order_pub:
        plan = _with_keys(plan, open_key(root_key, passphrase_file), policy_pub, order_pub)
    else:
        raise typer.BadParameter(
            "--new-keys DIR | --root-key, --policy-pub, --order-pub", param_hint="--new-keys"
        )
    _tell(plan, set_up(plan, now_us()), json=json)


def _tell(plan: Plan, root: TrustRoot, *, json: bool) -> None:
    facts = {"city": plan.city, "data": str(plan.data), "root": fingerprint(root.root_key)}
    editions = {one.id: one.edition for one in chosen_ordinances(plan).values()}
    if json:
        reached = {"collector": fingerprint(root.collector_key), "addresses": root.addresses}
        output.json({**facts, **reached, "ordinances": editions})
    else:
        output.line(say(ORDINANCES, names=", ".join(" ".join(one) for one in editions.items())))
        output.line(say(INITIALISED, **facts, policy=Layout(plan.data).policy))


def _with_keys(plan: Plan, root: SignPair, policy_pub: list[Path], order_pub: list[str]) -> Plan:
    """The plan with keys made elsewhere."""
    return replace(
        plan,
        root=root,
        policy_keys=tuple(read_public(one) for one in policy_pub),
        order_keys=tuple(_order_key(one) for one in order_pub),
    )


def _with_new_keys(plan: Plan, directory: Path, passphrase_file: Path | None) -> Plan:
    """The plan with keys made for it, once nothing else can be wrong with it."""
    passphrase = _new_passphrase(passphrase_file)
    check_plan(replace(plan, order_keys=tuple(OrderKey(bytes(32), role, role) for role in HOLDERS)))
    pairs = make_keys(directory, passphrase)
    if passphrase is None:
        output.aside(say(OPEN_KEYS))
    return replace(
        plan,
        root=pairs["root"],
        policy_keys=(pairs["policy"].public,),
        order_keys=tuple(OrderKey(pairs[role].public, role, role) for role in HOLDERS),
    )


def _ports(text: str) -> dict[Lane, int]:
    parts = text.split(",")
    if len(parts) != len(PORTS) or not all(part.isdigit() and 0 < int(part) < 1 << 16 for part in parts):
        raise typer.BadParameter("7460,7461,7462", param_hint="--ports")
    return dict(zip(PORTS, map(int, parts), strict=True))


def _new_passphrase(file: Path | None) -> str | None:
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        return None
    return (
        typer.prompt(say(NEW_PASSPHRASE), hide_input=True, confirmation_prompt=True, err=True, default="")
        or None
    )


def _order_key(text: str) -> OrderKey:
    file, _, rest = text.partition(":")
    role, _, holder = rest.partition(":")
    if role not in get_args(Role) or not holder:
        raise typer.BadParameter("FILE:ciso|deputy|csirt:HOLDER", param_hint="--order-pub")
    return OrderKey(read_public(Path(file)), role, holder)  # type: ignore[arg-type]


def add_to(app: typer.Typer) -> None:
    """Hang the command into ``app``."""
    app.command(help=t("収集サーバーを用意する", "set up a collector"))(init)
