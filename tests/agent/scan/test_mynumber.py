"""The individual-number detector: check digit, boundaries, context, tables; and that no text stalls it."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scan import mynumber
from agent.scan.labels import LabelFinder, normalise
from agent.scan.mynumber import OVERLAP, Detector, check_digit, is_valid, mask

SAMPLE = "123456789018"
DICE = random.Random(13)


def number() -> str:
    eleven = "".join(DICE.choice("0123456789") for _ in range(11))
    return eleven + str(check_digit(eleven))


def found(text: str) -> list[str]:
    detector = Detector()
    detector.text(normalise(text))
    return list(detector.found())


def table(*rows: list[str]) -> list[str]:
    detector = Detector()
    for row in rows[1:]:
        detector.row(row, rows[0])
    return list(detector.found())


@pytest.mark.parametrize(
    ("eleven", "digit"),
    # Worked by hand from the formula: weights 6 5 4 3 2 7 6 5 4 3 2 from the left.
    [
        ("12345678901", 8),
        ("00000000000", 0),
        ("10000000000", 5),
        ("00000000001", 9),
        ("00000000006", 0),
        ("99999999999", 6),
    ],
)
def test_the_published_formula(eleven: str, digit: int) -> None:
    weights = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
    rest = sum(int(one) * weight for one, weight in zip(eleven, weights, strict=True)) % 11
    assert check_digit(eleven) == (0 if rest <= 1 else 11 - rest) == digit


@given(st.text("0123456789", min_size=11, max_size=11), st.integers(0, 10), st.integers(1, 9))
def test_one_wrong_digit_is_noticed_nearly_always(eleven: str, at: int, by: int) -> None:
    """Modulo 11 with one digit: two remainders share the check digit 0, so only these can hide an error."""
    wrong = eleven[:at] + str((int(eleven[at]) + by) % 10) + eleven[at + 1 :]
    assert check_digit(wrong) != check_digit(eleven) or check_digit(eleven) == 0


def test_fillers_are_no_numbers() -> None:
    assert is_valid(SAMPLE)
    assert not is_valid("000000000000")
    assert not is_valid("123456789012")
    assert mask(SAMPLE) == "********9018"


@pytest.mark.parametrize(
    "text",
    [
        f"個人番号 {SAMPLE}",
        "マイナンバー：1234 5678 9018",
        "ﾏｲﾅﾝﾊﾞｰ １２３４－５６７８－９０１８",
        "1234‐5678‐9018（個人番号）",
        f"従業員個人番号\n{SAMPLE}",
        "個人番号\n1 2 3 4 5 6 7 8 9 0 1 8",
        "氏名 山田 生年月日 昭和五十年 1234-5678-9018",
        f"My Number: {SAMPLE}.",
        f"電話 052-000-0000 個人番号 {SAMPLE}",
    ],
)
def test_what_is_one(text: str) -> None:
    assert found(text) == [SAMPLE]


@pytest.mark.parametrize(
    "text",
    [
        SAMPLE,
        f"電話番号 {SAMPLE}",
        f"個人番号 4{SAMPLE}",
        f"個人番号 {SAMPLE}0",
        "個人番号 1234 5678 9018 3456",
        "個人番号 1234-5678-9018-3456",
        f"個人番号 id{SAMPLE}",
        f"個人番号 10.{SAMPLE}",
        "個人番号 123456789012",
        f"氏名 山田 住所 中区 伝票番号 {SAMPLE}",
        f"マイナンバー制度のお知らせ {SAMPLE}",
        "個人番号 1 2 3 4 5 6 7 8 9 0 1 8 5",
    ],
)
def test_what_is_none(text: str) -> None:
    assert found(text) == []


def test_many_valid_ones_of_a_column_are_no_chance() -> None:
    numbers = [number() for _ in range(8)]
    assert set(found("\n".join(numbers))) == set(numbers)
    assert table(["No", "値"], *([str(at), one] for at, one in enumerate(numbers))) == numbers
    assert found("\n".join(numbers[:3])) == []
    mixed = [*numbers[:4], *(f"{at:012}" for at in range(100_000_000_001, 100_000_000_040))]
    assert found("\n".join(one for one in mixed)) == []


def test_the_title_of_a_column_decides() -> None:
    assert table(["氏名", "個人番号"], ["山田", SAMPLE]) == [SAMPLE]
    assert table(["個人番号の提出", "伝票番号"], ["済", SAMPLE]) == []
    assert table(["個人番号", "伝票番号"], [number(), SAMPLE])[0] != SAMPLE
    assert table([], ["個人番号", *SAMPLE]) == [SAMPLE]
    # A spreadsheet takes leading zeros for nothing.
    short = next(one for one in (number() for _ in range(1000)) if one[0] == "0" and one[1] != "0")
    assert table(["氏名", "個人番号"], ["山田", short[1:]]) == [short]


@given(st.integers(0, 2 * OVERLAP), st.integers(0, 2 * OVERLAP), st.integers(1, OVERLAP))
def test_where_text_is_cut_does_not_matter(before: int, after: int, cut: int) -> None:
    text = "。" * before + f"個人番号 {SAMPLE} " + "。" * after
    detector = Detector()
    for start in range(0, len(text), cut):
        detector.text(text[start : start + cut])
    assert list(detector.found()) == [SAMPLE]


@given(
    st.text(
        st.characters(codec="utf-8") | st.sampled_from("0123456789 -ー|\t\n個人番号マイナンバー"),
        max_size=400,
    )
)
def test_no_text_breaks_it(text: str) -> None:
    count, masked = (detector := Detector()).result()
    assert (count, masked) == (0, ())
    detector.text(normalise(text))
    detector.row(text.split("\n")[:20], text.split("|")[:20])
    count, masked = detector.result()
    assert count >= len(masked)
    assert all(is_valid(one) for one in detector.found())


@pytest.mark.parametrize(
    "text",
    ["1" * 1_000_000, "1 " * 500_000, "1234 " * 200_000, "1234-" * 200_000, "1\t" * 500_000, "個人番号" * 250_000, "番" * 1_000_000,
     "ア" * 1_000_000, f"個人番号{SAMPLE} " * 60_000, "a_" * 500_000, "1|" * 500_000, "123456789018" * 80_000],
)  # fmt: skip
def test_no_text_stalls_it(text: str) -> None:
    begin = time.process_time()
    detector, labels = Detector(), LabelFinder([("x", ("機密性3", "取扱注意"))])
    detector.text(text)
    labels.look(text)
    detector.result()
    assert time.process_time() - begin < 8


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mynumber, "MAX_KEPT", 100)
    detector = Detector()
    detector.text(
        "\n".join(number() for _ in range(300)) + "\n" + "\n".join(f"{at:012}" for at in range(300))
    )
    detector.result()
    assert [(len(one.valid), len(one.wrong)) for one in detector._columns.values()] == [(100, 100)]


# -- labels ----------------------------------------------------------------------------------------------


def labels(text: str) -> list[str]:
    finder = LabelFinder(
        [
            ("confidential3", ("機密性3", "機密性3情報")),
            ("care", ("取扱注意",)),
            ("city", ("部外秘", "CONFIDENTIAL")),
        ]
    )
    finder.look(normalise(text))
    return list(finder.found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("機密性３\n本文", ["confidential3"]),
        ("【機密性3情報】", ["confidential3"]),
        ("取 扱 注 意", ["care"]),
        ("Confidential - internal", ["city"]),
        ("部外秘です", ["city"]),
        ("名簿【部外秘】.xlsx", ["city"]),
        ("取扱注意事項を守ること", []),
        ("機密性30", []),
        (
            "この文書では、どのような場合に" * 6
            + "取扱注意、とするかを定める。"
            + "詳しくは後の章で述べる。" * 5,
            [],
        ),
        ("あ" * 100 + "【取扱注意】" + "い" * 100, ["care"]),
        ("", []),
    ],
)
def test_labels_stand_like_stamps(text: str, expected: list[str]) -> None:
    assert labels(text) == expected
