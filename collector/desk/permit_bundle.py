"""A bundle with other permits and nothing else changed. Pure: who signs one checks it with the same code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from msgspec.structs import replace

from policies.model import Account, Bundle, Permit


def without(bundle: Bundle, gone: Collection[str], generation: int, now_us: int) -> Bundle:
    """The bundle without some permits; the accounts of contractors among them end now."""
    taken = [permit for permit in bundle.permits if permit.id in gone]
    kept = tuple(permit for permit in bundle.permits if permit.id not in gone)
    accounts = tuple(_ended(account, taken, kept, now_us) for account in bundle.accounts)
    return replace(bundle, generation=generation, issued_us=now_us, permits=kept, accounts=accounts)


def with_permits(
    bundle: Bundle, permits: Iterable[Permit], contractors: Iterable[Account], generation: int, *, now_us: int
) -> Bundle:
    """The bundle with the permits and contractors of the register; other accounts stay."""
    return replace(
        bundle,
        generation=generation,
        issued_us=now_us,
        permits=tuple(sorted(permits, key=lambda permit: permit.id)),
        accounts=merged(bundle.accounts, contractors),
    )


def merged(accounts: Iterable[Account], contractors: Iterable[Account]) -> tuple[Account, ...]:
    """Accounts by login name; what the permit register says of one goes before."""
    found = {account.user: account for account in (*accounts, *contractors)}
    return tuple(found[user] for user in sorted(found))


def only_permits_differ(base: Bundle, bundle: Bundle) -> bool:
    """Whether a bundle follows ``base`` and changes nothing but permits and accounts of contractors."""
    others = replace(
        base, generation=0, issued_us=0, permits=(), accounts=_others(base.accounts, bundle.accounts)
    )
    same = replace(
        bundle, generation=0, issued_us=0, permits=(), accounts=_others(bundle.accounts, base.accounts)
    )
    return bundle.generation > base.generation and others == same


def only_takes_away(base: Bundle, bundle: Bundle) -> bool:
    """Whether a bundle is ``base`` without some of its permits, and nothing else."""
    gone = {permit.id for permit in base.permits} - {permit.id for permit in bundle.permits}
    return bundle.generation > base.generation and bundle == without(
        base, gone, bundle.generation, bundle.issued_us
    )


def _others(accounts: Iterable[Account], counterpart: Iterable[Account]) -> tuple[Account, ...]:
    """Accounts that are no contractor's, before or after."""
    ours = {account.user for account in counterpart if account.kind == "contractor"}
    return tuple(account for account in accounts if account.kind != "contractor" and account.user not in ours)


def _ended(account: Account, taken: Sequence[Permit], kept: Sequence[Permit], now_us: int) -> Account:
    if account.kind != "contractor" or not _names(taken, account) or _names(kept, account):
        return account
    return replace(account, until_us=min(account.until_us or now_us, now_us))


def _names(permits: Iterable[Permit], account: Account) -> bool:
    return any(one.kind == "contractor" and one.subject.account == account.user for one in permits)
