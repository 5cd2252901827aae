"""A release that changes permits only: what a signer can rely on."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from collector.desk.permit_bundle import (
    merged,
    only_permits_differ,
    only_takes_away,
    with_permits,
    without,
)
from policies.model import Account, Bundle, Citation, Permit, Rule, Setting, Subject
from policies.model import All as Everything

ARTICLE = Citation("nagoya", "第35条第4号")


def permit(number: int, account: str = "") -> Permit:
    subject = Subject(account=account) if account else Subject(device_id=f"d{number}")
    kind = "contractor" if account else "device"
    return Permit(id=f"p{number}", kind=kind, subject=subject, from_us=1, until_us=2, article=ARTICLE)  # type: ignore[arg-type]


BASE = Bundle(
    city="naka",
    generation=7,
    issued_us=100,
    expires_us=900,
    ordinances=("nagoya",),
    rules=(
        Rule(
            id="r", version="1", title_ja="", title_en="", family="device", control="devices", effect="block",
            level="high", citations=(), predicate=Everything(()),
        ),
    ),
    permits=(permit(1), permit(2, "ext1"), permit(3, "ext2"), permit(4, "ext2")),
    zones=(),
    settings={"devices": {"*": Setting("enforce")}},
    accounts=(
        Account(user="ext1", kind="contractor", until_us=500),
        Account(user="ext2", kind="contractor", until_us=500),
        Account(user="front", kind="shared"),
    ),
)  # fmt: skip
TAMPERED: list[dict[str, Any]] = [
    {"settings": {"devices": {"*": Setting("observe")}}},
    {"rules": ()},
    {"expires_us": 10**18},
    {"city": "other"},
    {"ordinances": ()},
    {"accounts": ()},
    {"accounts": (*BASE.accounts, Account(user="back", kind="service"))},
    {"not_permittable": ("phone",)},
]
numbers = st.sets(st.integers(1, 4))


@given(numbers, st.integers(8, 20), st.integers(101, 800))
def test_taking_away_is_seen_as_that(gone: set[int], generation: int, now_us: int) -> None:
    ids = {f"p{number}" for number in gone}
    less = without(BASE, ids, generation, now_us)
    assert {one.id for one in less.permits} == {one.id for one in BASE.permits} - ids
    assert only_takes_away(BASE, less)
    assert only_permits_differ(BASE, less)
    assert less.expires_us == BASE.expires_us
    for change in TAMPERED:
        assert not only_takes_away(BASE, replace(less, **change))
        assert not only_permits_differ(BASE, replace(less, **change)) or "accounts" in change
    assert not only_takes_away(BASE, replace(less, generation=BASE.generation))


def test_a_contractors_account_ends_with_the_last_of_the_permits() -> None:
    one = {account.user: account.until_us for account in without(BASE, {"p2", "p3"}, 8, 300).accounts}
    assert one == {"ext1": 300, "ext2": 500, "front": 0}
    both = {account.user: account.until_us for account in without(BASE, {"p3", "p4"}, 8, 300).accounts}
    assert both == {"ext1": 500, "ext2": 300, "front": 0}


def test_giving_is_not_taking_away() -> None:
    more = with_permits(BASE, [*BASE.permits, permit(5)], (), 8, now_us=300)
    assert only_permits_differ(BASE, more)
    assert not only_takes_away(BASE, more)


def test_other_accounts_are_not_to_be_touched() -> None:
    for accounts in ((), (*BASE.accounts[:2], Account(user="front", kind="service"))):
        assert not only_permits_differ(BASE, replace(BASE, generation=8, accounts=accounts))


def test_the_permit_register_goes_before_the_site_file() -> None:
    ours = Account(user="ext1", kind="contractor", until_us=9)
    assert merged(BASE.accounts, [ours]) == (ours, *BASE.accounts[1:])
