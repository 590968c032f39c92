"""Charts as SVG, drawn here: no script, and colours from the style sheet, so that light and dark both work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from markupsafe import Markup

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 640, 200, 46, 14, 24, 8
_ROW = 26


def columns(label: str, days: Sequence[float], series: Sequence[tuple[str, Sequence[int]]]) -> Markup:
    """A column for each day and series, of which there are at most two. label: what a screen reader says."""
    top = nice(max((value for _, values in series for value in values), default=0))
    high = _HEIGHT - _BOTTOM - _TOP
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(days))
    wide = step * 0.76 / len(series)
    parts = []
    for share in (0, 0.5, 1):
        y = _TOP + high * (1 - share)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{top * share:,.4g}</text>')
    for number, (name, values) in enumerate(series):
        for index, value in enumerate(values):
            tall = high * value / top
            x = _LEFT + step * index + step * 0.12 + wide * number
            parts.append(
                f'<rect class="{("one", "two")[number]}" x="{x:.1f}" y="{_TOP + high - tall:.1f}" width="{wide:.1f}"'
                f' height="{tall:.1f}"><title>{_day(days[index])}: {value:,} {escape(name)}</title></rect>'
            )
    every = max(1, math.ceil(len(days) / 7))
    for index in range(len(days) - 1, -1, -every):
        x = _LEFT + step * (index + 0.5)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{_day(days[index])}</text>')
    return _svg(label, _HEIGHT, parts)


def rows(label: str, values: Sequence[tuple[str, int]]) -> Markup:
    """A bar for each name, the longest first."""
    top = max((value for _, value in values), default=0) or 1
    left, right = 150, 60
    parts = []
    for index, (name, value) in enumerate(values):
        y = index * _ROW
        wide = (_WIDTH - left - right) * value / top
        parts.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="one" x="{left}" y="{y + 4}" width="{wide:.1f}" height="{_ROW - 8}"/>')
        parts.append(f'<text x="{left + wide + 6:.1f}" y="{y + 17}">{value:,}</text>')
    return _svg(label, max(1, len(values)) * _ROW, parts)


def nice(value: float) -> float:
    """A round number that is not less: 1, 2 or 5 times a power of ten, and even."""
    if value <= 2:
        return 2
    power = 10 ** math.floor(math.log10(value))
    return float(next(factor * power for factor in (1, 2, 4, 5, 6, 8, 10) if factor * power >= value))


def _svg(label: str, height: float, parts: Sequence[str]) -> Markup:
    """Every part is made of numbers and of escaped names."""
    inside = "".join(parts)
    text = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH} {height}">{inside}</svg>'
    return Markup(text)  # noqa: S704


def _day(start: float) -> str:
    return datetime.fromtimestamp(start, UTC).strftime("%-d %b")
