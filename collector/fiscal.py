"""Fiscal years: 1 April to 31 March, Asia/Tokyo (which has no daylight saving), named for the April they begin in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

TOKYO = timezone(timedelta(hours=9))
_FIRST_MONTH = 4


def fiscal_year(time_us: int) -> int:
    """The fiscal year of a time (UTC µs)."""
    local = datetime.fromtimestamp(time_us / 1_000_000, TOKYO)
    return local.year if local.month >= _FIRST_MONTH else local.year - 1


def span_us(year: int) -> tuple[int, int]:
    """First moment of a fiscal year and of the next, UTC µs. Raises ValueError for years that have no date."""
    return _april(year), _april(year + 1)


def _april(year: int) -> int:
    return int(datetime(year, _FIRST_MONTH, 1, tzinfo=TOKYO).timestamp()) * 1_000_000
