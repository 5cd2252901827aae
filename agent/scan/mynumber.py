"""Finds individual numbers (個人番号, "My Number") in text: twelve digits, the check digit, and what stands around them.

The check digit alone says little: one of ten random numbers of twelve digits has it. So each candidate is scored by its
context, and counted from :data:`THRESHOLD` on. How often that errs is measured by ``make bench`` (``tests/bench/mynumber.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from msgspec import Struct

from agent.scan.job import MASKED

THRESHOLD = 3
OVERLAP = 256
"""Characters kept of one block of text as context of the next."""
MAX_KEPT = 50_000
"""Different candidates remembered for each column; more are not told apart from those."""
MAX_COLUMNS = 512

_DASHES = r"\-‐‑‒–—―−ー"
_GROUPED = re.compile(rf"(?<![0-9])[0-9]{{4}}([ \t{_DASHES}]?)[0-9]{{4}}\1[0-9]{{4}}(?![0-9])")
_SPREAD = re.compile(r"(?<![0-9])[0-9]([ \t|])(?:[0-9]\1){10}[0-9](?![0-9])")
"""One digit to a box, as on paper forms."""
_JOINED_BEFORE = re.compile(rf"(?:[A-Za-z_]|[0-9][./:{_DASHES}])\Z")
_JOINED_AFTER = re.compile(rf"[A-Za-z_]|[./:{_DASHES}][0-9]")
"""Part of something longer: an address, a decimal, an identifier."""
_GROUP_BEFORE, _GROUP_AFTER = (
    re.compile(r"(?<![0-9])[0-9]{4} \Z"),
    re.compile(rf" [0-9]{{4}}(?![0-9{_DASHES}])"),
)
"""One more group of four: a bank card."""

_STRONG = (
    r"マイ ?ナンバー(?!制度|法|総合|対応|利用|ポータル|ポイント)|個人番号(?!利用事務|関係事務|制度|の提出|を扱う)|個番"
    r"|my ?number|individual number|通知カード|特定個人情報(?!保護|等?の取扱)"
)
"""What people call the number; not where the scheme is spoken of."""
_WEAK = r"氏名|生年月日|住所|性別|続柄|扶養|源泉徴収|年末調整|給与|被保険者|世帯|本人確認|健康保険|雇用保険|控除対象|date of birth"
_OTHER = (
    r"電話|携帯|口座|伝票|注文|請求|受付|整理|追跡|送り状|問い?合わ?せ|商品|品番|品目|型番|製造|法人|証券|会員|社員|職員|学籍|契約|管理|登録|納付|納品"
    r"|通知書|照会|控え|宛名|ロット|バーコード|取引|決済|振込|文書|資産|物件|地番|車台|見積|検針|お客様|住民票コード|年金番号|証番号|タイムスタンプ|日時"
    r"|[一-鿿ァ-ヶー]{1,10}(?:番号|コード|No\b)|tel|fax|phone|isbn|jan|upc|sku|serial|timestamp|time|date|order|tracking"
    r"|invoice|customer|account|barcode|lot|asset|session|request|trace|[a-z]{1,20}[_-]?id"
)
_WORD = re.compile(f"(?P<strong>{_STRONG})|(?P<weak>{_WEAK})|(?P<other>{_OTHER})", re.IGNORECASE)
_STRONG_WORD = re.compile(_STRONG, re.IGNORECASE)
_NEAR, _WIDE, _BEHIND = 48, 240, 16
_LIKELY, _UNLIKELY = 4, -4
_LOOKAHEAD = 8
_LABELS = 12
"""Cells from the left that may be the title of their row."""
_TITLE = 24
"""Characters of a cell that is a title."""
_FORM = 5
"""So many different words of personal forms around."""
_MANY, _MOST = 4, 0.7
"""So many different numbers of a column of which so much have the check digit are no chance."""


def check_digit(eleven: str) -> int:
    """Check digit of the first eleven digits.

    Ordinance of the Ministry of Internal Affairs and Communications no. 85 of 2014 (平成26年総務省令第85号), article 5:
    11 - (sum of P_n * Q_n for n = 1..11) mod 11, where P_n is the n-th digit from the right and Q_n is n + 1 for
    n <= 6, else n - 5; 0 where the remainder is 0 or 1.
    """
    total = sum(
        int(digit) * (n + 1 if n <= 6 else n - 5)  # noqa: PLR2004 - the published formula
        for n, digit in enumerate(reversed(eleven), 1)
    )
    rest = total % 11
    return 0 if rest <= 1 else 11 - rest


def is_valid(digits: str) -> bool:
    """Twelve digits with the right check digit, and not just a filler of one or two different ones."""
    return len(set(digits)) > 2 and check_digit(digits[:-1]) == int(digits[-1])  # noqa: PLR2004 - see above


def mask(digits: str) -> str:
    """All but the last four digits as ``*``."""
    return "*" * (len(digits) - 4) + digits[-4:]


class _Column(Struct):
    """What was seen in one column of a table, or in running text."""

    valid: dict[str, int]
    """Number with the right check digit → best score."""
    wrong: set[int]
    """Twelve digits without it, as hashes: only how many counts."""
    titled: bool = False
    """It has a title that says something else, or nothing."""


class _Candidate(Struct, frozen=True):
    digits: str
    start: int
    end: int
    marked: bool
    """Written in groups of four or one digit to a box."""


class Detector:
    """Takes normalised text (see ``sink``) block by block, and rows of tables; :meth:`found` tells."""

    def __init__(self) -> None:
        self._columns: dict[int, _Column] = {}
        self._named = False
        self._tail = ""
        self._from = 0

    def text(self, block: str) -> None:
        """Take the next block of running text."""
        whole = self._tail + block
        until = max(self._from, len(whole) - OVERLAP)
        self._look(whole, self._from, until)
        keep = max(0, until - OVERLAP)
        self._tail, self._from = whole[keep:], until - keep

    def end_of_text(self) -> None:
        """The text ends; what comes next has nothing to do with it."""
        self._look(self._tail, self._from, len(self._tail))
        self._tail, self._from = "", 0

    def row(self, cells: Sequence[str], header: Sequence[str]) -> None:
        """Take one row of a table. ``header`` is the row that names the columns, empty if none was seen."""
        line = "\t".join(cells)
        above = "\t".join(header)[:OVERLAP]
        self._named = self._named or _STRONG_WORD.search(line) is not None
        for one in _candidates(line, 0, len(line)):
            column = line.count("\t", 0, one.start)
            title = _label_before(cells[: min(column, _LABELS)]) or (
                header[column] if column < len(header) else ""
            )
            self._add(one, min(column, MAX_COLUMNS) + 1, _score(line, one, title, above), titled=bool(title))
        for column, title in enumerate(header[: len(cells)]):
            if (digits := _shortened(cells[column])) and kind_of_title(title) == "strong":
                one = _Candidate(digits, 0, 0, marked=False)
                self._add(one, min(column, MAX_COLUMNS) + 1, _LIKELY)

    def found(self) -> dict[str, None]:
        """The individual numbers found, in the order seen. Never leaves this process but masked."""
        self.end_of_text()
        found: dict[str, None] = {}
        for column in self._columns.values():
            bonus = 1 if self._named and not column.titled else 0
            total = len(column.valid) + len(column.wrong)
            if len(column.valid) >= _MANY and len(column.valid) >= _MOST * total:
                bonus += 3
            found.update(
                (digits, None) for digits, score in column.valid.items() if score + bonus >= THRESHOLD
            )
        return found

    def result(self) -> tuple[int, tuple[str, ...]]:
        """How many different numbers, and the first ones masked."""
        found = list(self.found())
        return len(found), tuple(mask(digits) for digits in found[:MASKED])

    def _look(self, text: str, start: int, end: int) -> None:
        if not self._named and _STRONG_WORD.search(text) is not None:
            self._named = True
        for one in _candidates(text, start, end):
            self._add(one, 0, _score(text, one, "", ""))

    def _add(self, one: _Candidate, column: int, score: int, *, titled: bool = False) -> None:
        seen = self._columns.setdefault(column, _Column({}, set()))
        seen.titled = seen.titled or titled
        if not is_valid(one.digits):
            if len(seen.wrong) < MAX_KEPT:
                seen.wrong.add(hash(one.digits))
        elif one.digits in seen.valid or len(seen.valid) < MAX_KEPT:
            seen.valid[one.digits] = max(score, seen.valid.get(one.digits, score))


def kind_of_title(title: str) -> str:
    """``strong``, ``other``, ``weak`` or empty: what a column title says its numbers are."""
    kinds = [kind for kind, _ in _words(title)]
    return next((kind for kind in ("strong", "other", "weak") if kind in kinds), "")


def _label_before(cells: Sequence[str]) -> str:
    """A cell to the left that says "individual number": a form, where each row has its own title."""
    return next((one for one in cells if len(one) <= _TITLE and kind_of_title(one) == "strong"), "")


def _words(text: str) -> Iterator[tuple[str, str]]:
    for word in _WORD.finditer(text):
        # 従業員個人番号 is found as one word; what follows it still decides.
        inside = _STRONG_WORD.search(text, word.start(), word.end() + _LOOKAHEAD)
        strong = inside is not None and inside.end() <= word.end()
        yield "strong" if strong else word.lastgroup or "", word[0]


def _candidates(text: str, start: int, end: int) -> Iterator[_Candidate]:
    """Twelve digits that begin in ``text[start:end]`` and are not part of something longer."""
    for pattern in (_GROUPED, _SPREAD):
        position = start
        while (match := pattern.search(text, position)) and match.start() < end:
            before, after = (
                text[max(0, match.start() - 6) : match.start()],
                text[match.end() : match.end() + 6],
            )
            digits = "".join(filter(str.isdigit, match[0]))
            joined = _JOINED_BEFORE.search(before) or _JOINED_AFTER.match(after)
            if match[1] == " " and pattern is _GROUPED:
                joined = joined or _GROUP_BEFORE.search(before) or _GROUP_AFTER.match(after)
            if joined or (pattern is _SPREAD and _digit_near(before, after, match[1])):
                position = match.start() + 4 if pattern is _GROUPED else match.end()
                continue
            yield _Candidate(digits, match.start(), match.end(), bool(match[1]))
            position = match.end()


def _digit_near(before: str, after: str, separator: str) -> bool:
    """A row of boxes that goes on is no individual number."""
    return bool(
        re.search(rf"[0-9]{re.escape(separator)}\Z", before)
        or re.match(rf"{re.escape(separator)}[0-9]", after)
    )


def _score(text: str, one: _Candidate, title: str, above: str) -> int:
    """How much speaks for an individual number; see the module's first lines."""
    line = text.rfind("\n", max(0, one.start - _NEAR), one.start) + 1 or max(0, one.start - _NEAR)
    labels = [kind for kind, _ in _words(title or text[line : one.start]) if kind != "weak"]
    last = labels[-1] if labels else ""
    behind = text[one.end : one.end + _BEHIND].split("\n", 1)[0]
    score = 1 if one.marked else 0
    if last == "strong" or (not last and any(kind == "strong" for kind, _ in _words(behind))):
        return score + _LIKELY
    if last == "other":
        return score + _UNLIKELY
    around = list(_words(above + "\n" + text[max(0, one.start - _WIDE) : one.end + _WIDE]))
    score += 2 if not title and any(kind == "strong" for kind, _ in around) else 0
    weak = len({word for kind, word in around if kind == "weak"})
    score += 3 if weak >= _FORM else min(2, weak)
    return score - 2 if not one.marked and _is_time(one.digits) else score


def _is_time(digits: str) -> bool:
    """YYYYMMDDhhmm of our time."""
    month, day, hour, minute = (int(digits[at : at + 2]) for at in (4, 6, 8, 10))
    return digits[:2] in {"19", "20"} and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60  # noqa: PLR2004


def _shortened(cell: str) -> str:
    """A number that a spreadsheet robbed of its leading zeros, with them; else empty."""
    text = cell.strip()
    return text.zfill(12) if text.isascii() and text.isdigit() and len(text) in {10, 11} else ""
