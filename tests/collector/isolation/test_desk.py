import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.isolation.desk import FINAL, SILENT_US, ground_warnings, shown_state
from collector.registers.models import OrderRow
from policies.shipped import load_shipped
from protocol.orders import Ground, Order

ORDINANCES, _ = load_shipped()


def row(state: str, received_us: int = 0) -> OrderRow:
    return OrderRow(id="o", state=state, received_us=received_us)


@pytest.mark.parametrize("state", ["desired", "sent"])
def test_an_order_without_a_result_becomes_unreachable_and_stays_on_record(state: str) -> None:
    order = row(state, received_us=5)
    assert shown_state(order, 4 + SILENT_US) == state
    assert shown_state(order, 5 + SILENT_US) == "unreachable"
    assert order.state == state


@given(state=st.sampled_from(["applied", *FINAL, "unreachable"]), later=st.integers(0, 2**60))
def test_a_result_is_never_hidden_by_time(state: str, later: int) -> None:
    assert shown_state(row(state), later) == state


def order(ordinance: str, article: str) -> Order:
    return Order(
        order_id="o",
        kind="isolate",
        city="c",
        issuer="i",
        target="t",
        ground=Ground(ordinance, article),
        reason="r",
        issued_us=0,
        valid_until_us=1,
        nonce=bytes(16),
    )


@pytest.mark.parametrize("ordinance", sorted(ORDINANCES))
def test_every_article_of_every_ordinance_is_a_known_ground(ordinance: str) -> None:
    for article in ORDINANCES[ordinance].articles:
        assert ground_warnings(order(ordinance, article.number), ORDINANCES) == ()


@pytest.mark.parametrize(
    ("article", "known"),
    [("第35条", True), ("第3条", False), ("第35", False), ("第35条第4号", True), ("第35条第99号", False)],
)
def test_an_article_is_known_by_its_items_and_not_by_chance(article: str, known: bool) -> None:
    table = {"nagoya": ORDINANCES["nagoya"]}
    kept = [one for one in table["nagoya"].articles if one.number.startswith("第35条")]
    assert kept
    import msgspec

    table["nagoya"] = msgspec.structs.replace(table["nagoya"], articles=tuple(kept))
    assert (ground_warnings(order("nagoya", article), table) == ()) == known
