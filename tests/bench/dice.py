"""Made-up people, numbers and sentences; the same ones from the same seed."""

from __future__ import annotations

import random

from agent.scan.mynumber import check_digit, is_valid

FAMILY = ("佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤")
GIVEN = ("太郎", "花子", "一郎", "美咲", "健", "翔", "陽菜", "誠", "恵", "優")
TOWNS = ("中区栄", "北区清水", "東区泉", "千種区今池", "緑区鳴海町", "港区港町")
SENTENCES = (
    "標記について、下記のとおり通知します。", "期日までに担当あて回答してください。", "詳細は別紙を参照してください。",
    "会議は第二会議室で行います。", "経費の執行に当たっては所定の手続によること。", "不明な点は担当に問い合わせてください。",
)  # fmt: skip


class Dice:
    """Everything random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def digits(self, count: int) -> str:
        return "".join(self.random.choices("0123456789", k=count))

    def number(self) -> str:
        """An individual number."""
        while True:
            eleven = self.digits(11)
            if is_valid(number := eleven + str(check_digit(eleven))):
                return number

    def name(self) -> str:
        return self.random.choice(FAMILY) + " " + self.random.choice(GIVEN)

    def address(self) -> str:
        return f"{self.random.choice(TOWNS)}{self.random.randint(1, 9)}丁目{self.random.randint(1, 30)}番{self.random.randint(1, 20)}号"

    def born(self) -> str:
        return f"{self.random.randint(1930, 2020)}/{self.random.randint(1, 12):02}/{self.random.randint(1, 28):02}"

    def phone(self) -> str:
        return f"0{self.digits(2)}-{self.digits(4)}-{self.digits(4)}"

    def jan(self) -> str:
        """A JAN (EAN-13) code with its own check digit."""
        base = "49" + self.digits(10)
        total = sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(base))
        return base + str(-total % 10)

    def corporate(self) -> str:
        """A corporate number: check digit, then twelve digits."""
        base = self.digits(12)
        total = sum(int(digit) * (2 if at % 2 else 1) for at, digit in enumerate(reversed(base)))
        return str(9 - total % 9) + base

    def written(self, number: str) -> str:
        """A number as people write it."""
        parts = number[:4], number[4:8], number[8:]
        form = self.random.randrange(6)
        if form == 0:
            return " ".join(parts)
        if form == 1:
            return "-".join(parts)
        if form == 2:
            return number.translate(str.maketrans("0123456789", "０１２３４５６７８９"))
        return " ".join(number) if form == 3 else number

    def memo(self, lines: int) -> str:
        return "\n".join(self.random.choices(SENTENCES, k=lines))
