"""What a release knows of accounts that log on."""

import pytest
from msgspec.structs import replace

from policies.model import Account, Citation, Permit, Subject
from policies.view import PolicyView
from protocol.events import LogonFailed, LogonSucceeded
from tests.agent.strict_policy import FAR_US, policy

NOW = 1_790_000_000_000_000
ACCOUNTS = (
    Account(user="madoguchi", kind="shared"),
    Account(user="backup", kind="service"),
    Account(user="itaku01", kind="contractor", until_us=NOW),
    Account(user="itaku02", kind="contractor", until_us=NOW + 1),
    Account(user="itaku03", kind="contractor"),
)


def view(*permits: Permit) -> PolicyView:
    base = policy(*permits)
    return PolicyView(replace(base.bundle, accounts=ACCOUNTS), base.digest, "agent")


@pytest.mark.parametrize(
    ("user", "account"),
    [
        ("madoguchi", "shared"),
        ("backup", "service"),
        ("itaku01", "contractor_expired"),
        ("itaku02", "contractor"),
        ("itaku03", "contractor"),
        ("tanaka", ""),
        ("", ""),
    ],
)
def test_account(user: str, account: str) -> None:
    for kind in (LogonSucceeded, LogonFailed):
        assert view().enrich(kind(time_us=1, user=user), NOW).account == account


def test_contract_is_over_the_moment_it_ends() -> None:
    event = LogonSucceeded(time_us=1, user="itaku02")
    one = view()
    assert one.enrich(event, NOW).account == "contractor"
    assert one.enrich(event, NOW + 1).account == "contractor_expired"


def test_permit_bridges_the_time_until_the_next_contract() -> None:
    bridge = Permit(
        id="P7",
        kind="contractor",
        subject=Subject(account="itaku01"),
        from_us=0,
        until_us=FAR_US,
        article=Citation("nagoya", "第32条の2"),
    )
    found = view(bridge).enrich(LogonSucceeded(time_us=1, user="itaku01"), NOW)
    assert (found.account, found.permit, found.permit_id) == ("contractor", "granted", "P7")
    ended = view(replace(bridge, until_us=NOW)).enrich(LogonSucceeded(time_us=1, user="itaku01"), NOW)
    assert (ended.account, ended.permit) == ("contractor_expired", "expired")
