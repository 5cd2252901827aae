"""Made-up office documents with and without individual numbers, the same ones from the same seed.

Numbers have the published form (right check digit) and belong to nobody: names, addresses and numbers come from dice. The
documents without are made to be mistaken: lists of other numbers of twelve digits, one of ten of which has the check
digit by chance, beside the very words that stand around individual numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.bench.corpus_files import File, Rows, as_csv, as_docx, as_pdf, as_text, as_xlsx, as_zip
from tests.bench.dice import Dice


@dataclass(frozen=True)
class Document:
    """One file: its name, bytes, and the numbers that are in it. ``form``: what kind of document it is."""

    name: str
    content: bytes
    form: str
    numbers: frozenset[str] = field(default_factory=frozenset)


# -- with ----------------------------------------------------------------------------------------------------------------


def _people(dice: Dice, count: int) -> tuple[list[str], Rows, frozenset[str]]:
    titles = [
        "氏名",
        "生年月日",
        "住所",
        dice.random.choice(("個人番号", "マイナンバー", "個人番号（12桁）", "My Number")),
    ]
    numbers = [dice.number() for _ in range(count)]
    rows = [[dice.name(), dice.born(), dice.address(), number] for number in numbers]
    return titles, rows, frozenset(numbers)


def _letter(dice: Dice) -> tuple[str, frozenset[str]]:
    number = dice.number()
    label = dice.random.choice(
        ("個人番号", "マイナンバー", "あなたの個人番号", "個人番号(マイナンバー)", "ﾏｲﾅﾝﾊﾞｰ")
    )
    mark = dice.random.choice((" ", "：", "は", "\n　", "は次のとおりです。\n"))
    text = f"{dice.memo(3)}\n氏名　{dice.name()}\n{label}{mark}{dice.written(number)}\n{dice.memo(4)}\n"
    return text, frozenset({number})


def _form(dice: Dice) -> tuple[str, frozenset[str]]:
    """A declaration for dependants: the words around, the number's own label or not."""
    numbers = [dice.number() for _ in range(dice.random.randint(1, 5))]
    lines = [
        "給与所得者の扶養控除等申告書",
        f"氏名 {dice.name()} 生年月日 {dice.born()}",
        f"住所 {dice.address()}",
    ]
    lines += [
        f"扶養親族 {dice.name()} 続柄 子 {dice.random.choice(('', '個人番号 '))}{dice.written(one)}"
        for one in numbers
    ]
    return "\n".join(lines), frozenset(numbers)


def _bare_list(dice: Dice) -> tuple[str, frozenset[str]]:
    """Numbers, nothing else: a list made ready to be carried off."""
    numbers = [dice.number() for _ in range(dice.random.randint(8, 60))]
    return "\n".join(numbers) + "\n", frozenset(numbers)


def _mail(dice: Dice) -> tuple[str, frozenset[str]]:
    """In the middle of a sentence, with or without a word that says what it is."""
    number = dice.number()
    before = dice.random.choice(
        (
            "個人番号についてお尋ねの件、番号は",
            "本人の番号は",
            "マイナンバーカードの写しを送ります。",
            "下記の方の分です。氏名と生年月日も付けます。",
        )
    )
    after = dice.random.choice(
        ("です。", "（個人番号）でした。", "となります。マイナンバーの取扱いに注意してください。")
    )
    return (
        f"{dice.memo(2)}\n{dice.name()}様\n{before}{dice.written(number)}{after}\n{dice.memo(2)}",
        frozenset({number}),
    )


def _boxes(dice: Dice) -> tuple[list[str], Rows, frozenset[str]]:
    """A form in a spreadsheet, one digit to a cell."""
    number = dice.number()
    return (
        ["申告書"],
        [["氏名", dice.name()], ["個人番号", *number], ["住所", dice.address()]],
        frozenset({number}),
    )


def _headless(dice: Dice) -> tuple[str, bytes, frozenset[str]]:
    """Rows without a title: only the numbers themselves can tell."""
    _, rows, numbers = _people(dice, dice.random.randint(1, 12))
    return "rows.csv", "".join(",".join(row) + "\n" for row in rows).encode("cp932", "replace"), numbers


# -- without -------------------------------------------------------------------------------------------------------------


def _other_table(dice: Dice) -> tuple[list[str], Rows]:
    rows = dice.random.randint(5, 80)
    kind = dice.random.randrange(9)
    if kind == 0:
        return ["氏名", "電話番号", "住所"], [
            [dice.name(), dice.phone(), dice.address()] for _ in range(rows)
        ]
    if kind == 1:
        return ["口座名義", "口座番号", "金額"], [
            [dice.name(), dice.digits(12), dice.digits(6)] for _ in range(rows)
        ]
    if kind == 2:
        return ["商品名", "JANコード", "UPC", "数量"], [
            ["用紙", dice.jan(), dice.digits(12), "3"] for _ in range(rows)
        ]
    if kind == 3:
        return ["氏名", "生年月日", "住所", "管理番号"], [
            [dice.name(), dice.born(), dice.address(), dice.digits(12)] for _ in range(rows)
        ]
    if kind == 4:
        return ["法人名", "法人番号", "会社法人等番号"], [
            ["有限会社" + dice.name()[:2], dice.corporate(), dice.digits(12)] for _ in range(rows)
        ]
    if kind == 5:
        return ["伝票番号", "日時", "担当"], [
            [dice.digits(12), f"2026{dice.digits(8)}", dice.name()] for _ in range(rows)
        ]
    if kind == 6:
        title = dice.random.choice(("番号", "No.", "ID", "コード", "備考"))
        return ["氏名", "住所", "生年月日", title], [
            [dice.name(), dice.address(), dice.born(), dice.digits(12)] for _ in range(rows)
        ]
    if kind == 7:
        return ["氏名", "個人番号の提出", "番号"], [[dice.name(), "済", dice.digits(12)] for _ in range(rows)]
    # Without a word about what it is, and the first ones of a series.
    start = int(dice.digits(9)) * 1000
    return ["No", "値", "備考"], [[str(at), f"{start + at:012}", "済"] for at in range(rows)]


def _invoice(dice: Dice) -> str:
    lines = [
        f"請求書番号 {dice.digits(12)}",
        f"振込先 口座 {dice.digits(7)}",
        f"お客様番号：{dice.digits(4)}-{dice.digits(4)}-{dice.digits(4)}",
    ]
    lines += [
        f"品番 {dice.digits(12)} 数量 {dice.digits(2)} 金額 {dice.digits(5)}"
        for _ in range(dice.random.randint(2, 12))
    ]
    return "\n".join([*lines, f"電話 {dice.phone()}", dice.memo(2)])


def _log(dice: Dice) -> str:
    return "\n".join(
        f"2026-11-{dice.random.randint(1, 28):02} 10:{dice.digits(2)} id={dice.digits(12)} ts=17{dice.digits(11)} user=u{dice.digits(5)} {dice.digits(12)} ms={dice.digits(3)}"
        for _ in range(dice.random.randint(20, 200))
    )


def _about(dice: Dice) -> str:
    """Says "My Number" and holds none: notices, manuals, other numbers beside."""
    return (
        f"マイナンバー制度の運用について\n{dice.memo(5)}\n個人番号を扱う事務は取扱担当者が行うこと。\n"
        f"文書番号 {dice.digits(12)}　電話 {dice.phone()}\n問合せ番号 {dice.digits(4)}-{dice.digits(4)}-{dice.digits(4)}\n"
        f"カード {dice.digits(4)} {dice.digits(4)} {dice.digits(4)} {dice.digits(4)}\n{dice.memo(4)}\n"
    )


def _application(dice: Dice) -> str:
    """A form with names and addresses, and numbers of every other kind."""
    return (
        f"申請書\n氏名 {dice.name()}　生年月日 {dice.born()}\n住所 {dice.address()}\n受付No {dice.digits(12)}\n"
        f"控え {dice.digits(4)} {dice.digits(4)} {dice.digits(4)}\nマイナンバー総合フリーダイヤル 0120-95-0178\n照会 {dice.digits(12)}\n{dice.memo(2)}"
    )


def _ambiguous(dice: Dice) -> str:
    """Another number exactly where an individual number would stand: only the check digit tells, nine times of ten."""
    parts = dice.digits(4), dice.digits(4), dice.digits(4)
    return dice.random.choice((
        f"氏名 {dice.name()} 生年月日 {dice.born()} {'-'.join(parts)}\n{dice.memo(2)}",
        f"マイナンバーカードの申請 {''.join(parts)} を受け付けました。\n{dice.memo(2)}",
        f"{dice.memo(1)}\n個人番号カード {' '.join(parts)}\n{dice.memo(1)}",
    ))  # fmt: skip


def _bare_digits(dice: Dice) -> str:
    """Twelve digits alone in a text about something else."""
    return f"{dice.memo(3)}\n{dice.digits(12)}\n{dice.memo(2)}\n{dice.digits(4)}-{dice.digits(4)}-{dice.digits(4)}\n"


# -- as files ------------------------------------------------------------

TEXTS: tuple[Callable[[random.Random, str], File], ...] = (as_text, as_text, as_docx, as_pdf)
TABLES: tuple[Callable[[random.Random, list[str], Rows], File], ...] = (as_csv, as_xlsx)


def _flat(titles: list[str], rows: Rows) -> str:
    return "\n".join("  ".join(row) for row in [titles, *rows])


def documents(count: int, seed: int = 35) -> Iterator[Document]:
    """So many documents, every other one with individual numbers."""
    dice = Dice(seed)
    for at in range(count):
        name, content, form, numbers = _with(dice) if at % 2 else _without(dice)
        if dice.random.random() < 0.1:
            name, content = as_zip((name, content))
        yield Document(name, content, form, numbers)


def _with(dice: Dice) -> tuple[str, bytes, str, frozenset[str]]:
    form = dice.random.choice(
        ("list", "list", "list", "letter", "letter", "form", "form", "bare list", "mail", "boxes", "headless")
    )
    if form == "headless":
        name, content, numbers = _headless(dice)
        return name, content, form, numbers
    if form == "boxes":
        titles, rows, numbers = _boxes(dice)
        return *dice.random.choice(TABLES)(dice.random, titles, rows), form, numbers
    if form == "list":
        titles, rows, numbers = _people(dice, dice.random.randint(1, 60))
        if dice.random.random() < 0.3:
            name, content = dice.random.choice(TEXTS)(dice.random, _flat(titles, rows))
        else:
            name, content = dice.random.choice(TABLES)(dice.random, titles, rows)
        return name, content, form, numbers
    text, numbers = {"letter": _letter, "form": _form, "mail": _mail, "bare list": _bare_list}[form](dice)
    name, content = dice.random.choice(TEXTS)(dice.random, text)
    return name, content, form, numbers


def _without(dice: Dice) -> tuple[str, bytes, str, frozenset[str]]:
    form = dice.random.choice(
        ("table", "table", "table", "invoice", "log", "about", "application", "ambiguous", "bare digits")
    )
    if form == "table":
        titles, rows = _other_table(dice)
        if dice.random.random() < 0.3:
            name, content = dice.random.choice(TEXTS)(dice.random, _flat(titles, rows))
        else:
            name, content = dice.random.choice(TABLES)(dice.random, titles, rows)
        return name, content, form, frozenset()
    text = {
        "invoice": _invoice,
        "log": _log,
        "about": _about,
        "application": _application,
        "ambiguous": _ambiguous,
        "bare digits": _bare_digits,
    }[form](dice)
    name, content = dice.random.choice(TEXTS)(dice.random, text)
    return name, content, form, frozenset()
