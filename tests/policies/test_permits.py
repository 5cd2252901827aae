"""When a permit covers, for whom and until when."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from policies.model import Citation, Permit, PermitKind, Scope, Subject
from policies.permits import FIELDS, Where, covers, find, in_scope, is_specific, name_covers, pick

ARTICLE = Citation("nagoya", "第35条第4号", "2016-04-01")
HERE = Where("pc1", "tax", "lgwan", "sato")
STICK = Subject(vendor_id="0781", product_id="5581", serial="4C53")


def permit(**changes: Any) -> Permit:
    made = Permit(id="p1", kind="device", subject=STICK, from_us=100, until_us=200, article=ARTICLE)
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("now_us", "state"),
    [(99, "none"), (100, "granted"), (199, "granted"), (200, "expired"), (10**18, "expired")],
)
def test_a_permit_holds_from_and_until(now_us: int, state: str) -> None:
    found, by = find([permit()], "device", STICK, HERE, now_us)
    assert found == state
    assert (by is None) == (state == "none")


def test_no_permit_helps_what_is_not_permittable() -> None:
    assert find([permit()], "device", STICK, HERE, 150, permittable=False) == ("not_permittable", None)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (Scope(), True),
        (Scope(agents=("pc2", "pc1")), True),
        (Scope(agents=("pc2",)), False),
        (Scope(users=("sato",)), True),
        (Scope(users=("ito",)), False),
        (Scope(sections=("tax",), zones=("lgwan",)), True),
        (Scope(sections=("tax",), zones=("internet",)), False),
    ],
)
def test_every_filled_part_of_a_scope_must_match(scope: Scope, covered: bool) -> None:
    assert find([permit(scope=scope)], "device", STICK, HERE, 150)[0] == ("granted" if covered else "none")


def test_a_permit_for_certain_users_needs_a_known_user() -> None:
    assert not in_scope(Scope(users=("sato",)), Where("pc1"))


COVERS = [
    ("device", Subject(device_id="ab"), Subject(device_id="AB", serial="x"), True),
    ("device", Subject(device_id="ab"), Subject(device_id="cd"), False),
    ("device", STICK, Subject(device_id="ab", vendor_id="0781", product_id="5581", serial="4c53"), True),
    ("device", STICK, replace(STICK, serial="other"), False),
    ("device", STICK, replace(STICK, serial=""), False),
    ("device", replace(STICK, device_id="ab"), STICK, False),
    ("device", Subject(vendor_id="0781", product_id="5581"), STICK, False),
    ("device", Subject(), STICK, False),
    ("device", Subject(), Subject(), False),
    ("medium", Subject(serial="4C53"), Subject(media_id="m", serial="4c53"), True),
    ("medium", Subject(fs_uuid="u", media_id="m"), Subject(fs_uuid="u", media_id="n"), False),
    ("medium", Subject(device_id="ab"), Subject(), False),
    ("software", Subject(source="dpkg", package="vim"), Subject(source="dpkg", package="vim"), True),
    ("software", Subject(source="dpkg", package="vim"), Subject(source="pip", package="vim"), False),
    ("software", Subject(source="dpkg", package="vim"), Subject(package="vim"), True),
    ("software", Subject(source="dpkg", package="*"), Subject(source="dpkg", package="vim"), True),
    ("software", Subject(source="dpkg", package="*"), Subject(package="vim"), True),
    ("software", Subject(source="dpkg", package="*"), Subject(source="dpkg"), False),
    ("software", Subject(source="dpkg", package="*"), Subject(), False),
    ("software", Subject(source="dpkg", package="*"), Subject(source="pip", package="vim"), False),
    ("software", Subject(package="vim"), Subject(package="vim"), False),
    ("software", Subject(digest="ab"), Subject(source="dpkg", package="vim", digest="AB"), True),
    ("software", Subject(digest="ab", source="dpkg", package="vim"), Subject(digest="ab"), False),
    ("destination", Subject(network="192.0.2.0/24"), Subject(network="192.0.2.7", port=1, protocol="udp"), True),
    ("destination", Subject(network="192.0.2.0/24", port=443), Subject(network="192.0.2.7", port=80), False),
    ("destination", Subject(network="192.0.2.0/24", protocol="tcp"), Subject(network="192.0.2.7", protocol="udp"), False),
    ("destination", Subject(network="192.0.2.0/24"), Subject(network="192.0.3.7"), False),
    ("destination", Subject(network="192.0.2.0/24"), Subject(network="junk"), False),
    ("destination", Subject(port=443), Subject(network="192.0.2.7", port=443), False),
    ("destination", Subject(name="files.example.jp"), Subject(name="FILES.example.jp.", network="192.0.2.7"), True),
    ("destination", Subject(name="*.example.jp", port=443), Subject(name="a.b.example.jp", port=443), True),
    ("destination", Subject(name="*.example.jp", port=443), Subject(name="a.example.jp", port=80), False),
    ("destination", Subject(name="*.example.jp"), Subject(name="example.jp"), False),
    ("destination", Subject(name="*.example.jp"), Subject(name="badexample.jp"), False),
    ("destination", Subject(name="a.jp", network="192.0.2.0/24"), Subject(name="a.jp", network="192.0.3.1"), False),
    ("destination", Subject(name="a.jp", network="192.0.2.0/24"), Subject(name="b.jp", network="192.0.2.1"), False),
    ("confidential_medium", Subject(media_id="m"), Subject(media_id="M", place="税"), True),
    ("confidential_medium", Subject(media_id="m", place="税"), Subject(media_id="m", place="税"), True),
    ("confidential_medium", Subject(media_id="m", place="税"), Subject(media_id="m", place="福祉"), False),
    ("confidential_medium", Subject(place="税"), Subject(place="税"), False),
    ("wireless", Subject(ssid="hall"), Subject(ssid="hall", mac="aa:bb:cc:00:11:22"), True),
    ("wireless", Subject(ssid="hall", mac="AA:BB:CC:00:11:22"), Subject(ssid="hall", mac="aa:bb:cc:00:11:22"), True),
    ("wireless", Subject(ssid="hall", mac="aa:bb:cc:00:11:22"), Subject(ssid="hall", mac="aa:bb:cc:00:11:23"), False),
    ("joint", Subject(mac="aa:bb:cc:00:11:22"), Subject(mac="AA:bb:cc:00:11:22", network="10.0.0.0/8"), True),
    ("joint", Subject(network="10.9.0.0/24"), Subject(network="10.8.0.0/24"), False),
    ("take_out", Subject(serial="4C53"), Subject(serial="4c53", device_id="d"), True),
    ("take_out", Subject(place="税"), Subject(place="税"), False),
    ("contractor", Subject(account="ext1"), Subject(account="ext1"), True),
    ("contractor", Subject(account="ext1"), Subject(account="ext2"), False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "permitted", "seen", "covered"), COVERS)
def test_what_a_subject_covers(kind: PermitKind, permitted: Subject, seen: Subject, covered: bool) -> None:
    assert covers(kind, permitted, seen) == covered


some = st.sampled_from(["", "a", "b"])
subjects = st.builds(
    Subject, device_id=some, vendor_id=some, product_id=some, serial=some, media_id=some, fs_uuid=some
)


@given(st.sampled_from(["device", "medium"]), subjects, subjects)
def test_covering_means_specific_and_equal_in_all_filled_fields(
    kind: PermitKind, wanted: Subject, seen: Subject
) -> None:
    filled = [name for name in FIELDS[kind] if getattr(wanted, name)]
    equal = all(getattr(wanted, name) == getattr(seen, name) for name in filled)
    assert covers(kind, wanted, seen) == (is_specific(kind, wanted) and equal)


spans = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))
permits = st.lists(st.tuples(spans, st.booleans()), max_size=5).map(
    lambda rows: [
        permit(id=f"p{number}", from_us=start, until_us=end, read_only=read_only)
        for number, ((start, end), read_only) in enumerate(rows)
    ]
)


@given(permits, st.integers(0, 45))
def test_the_best_permit_decides_whatever_the_order(candidates: list[Permit], now_us: int) -> None:
    state, by = pick(candidates, HERE, now_us)
    assert (state, by) == pick(candidates[::-1], HERE, now_us)
    running = [one for one in candidates if one.from_us <= now_us < one.until_us]
    ended = [one for one in candidates if one.until_us <= now_us]
    assert state == ("granted" if running else "expired" if ended else "none")
    if running:
        assert by in running
        assert by is not None
        assert by.read_only == all(one.read_only for one in running)


labels = st.lists(st.sampled_from(["a", "bb", "example", "jp"]), min_size=1, max_size=5)


@given(labels, labels)
def test_a_wildcard_covers_what_is_below_it_and_nothing_else(above: list[str], seen: list[str]) -> None:
    below = len(seen) > len(above) and seen[-len(above) :] == above
    assert name_covers("*." + ".".join(above), ".".join(seen)) == below
    assert name_covers(".".join(above), ".".join(seen)) == (above == seen)
