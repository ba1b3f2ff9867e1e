"""Reads the rows that a model is to answer for, from CSV or JSON lines. Pure: text in, numbers out.

Every error is a ValueError for the person who typed the file: it names the line, the column and what is wrong.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence

MAX_LISTED = 5
"""Column names that an error lists at most."""


class RowError(ValueError):
    """The rows cannot be used as they are."""


def read_rows(text: str, columns: Sequence[str]) -> list[list[float]]:
    """The rows in the order of `columns`.

    Args:
        text: CSV, with or without a header; or JSON lines, each a list of numbers or an object by column name. With names (a header, an
            object) the order is free and further columns are ignored. Empty lines do not count.
        columns: the names of the numbers in a row.

    Raises:
        RowError: naming the line, the column, and what is wrong.
    """
    start = text.lstrip("\ufeff \t\r\n")[:1]
    rows = list(_json_rows(text, columns) if start in ("{", "[") else _csv_rows(text, columns))
    if not rows:
        raise RowError(f"there are no rows; give one row of {len(columns)} numbers a line")
    return rows


def _csv_rows(text: str, columns: Sequence[str]) -> Iterator[list[float]]:
    reader = csv.reader(text.lstrip("\ufeff").splitlines(), skipinitialspace=True, strict=True)
    order: list[int] | None = None
    width = len(columns)
    first = True
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if first and not any(_is_number(cell) for cell in cells):
                order, width = _order([cell.strip() for cell in cells], columns), len(cells)
                first = False
                continue
            first = False
            if len(cells) != width:
                raise RowError(f"line {reader.line_num}: {_count(len(cells), 'column')}, but {width} are needed{_names(columns, order)}")
            picked = cells if order is None else [cells[index] for index in order]
            yield [_number(cell, name, reader.line_num) for cell, name in zip(picked, columns, strict=True)]
    except csv.Error as error:
        raise RowError(f"line {reader.line_num}: not CSV: {error}") from None


def _json_rows(text: str, columns: Sequence[str]) -> Iterator[list[float]]:
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RowError(f"line {number}: not JSON ({error}); give one row a line, as a list of numbers or an object") from None
        if isinstance(row, Mapping):
            missing = [name for name in columns if name not in row]
            if missing:
                raise RowError(f"line {number}: {_missing(missing)}")
            row = [row[name] for name in columns]
        if not isinstance(row, list):
            raise RowError(f"line {number}: a row is a list of numbers or an object by column name")
        if len(row) != len(columns):
            raise RowError(f"line {number}: {_count(len(row), 'number')}, but {len(columns)} are needed{_names(columns, None)}")
        yield [_number(value, name, number) for value, name in zip(row, columns, strict=True)]


def _order(header: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where each of the columns stands in the header."""
    missing = [name for name in columns if name not in header]
    if missing:
        raise RowError(f"the header (line 1): {_missing(missing)}; without a header give the {len(columns)} numbers in the model's order")
    return [header.index(name) for name in columns]


def _number(value: object, column: str, line: int) -> float:
    number = math.nan
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise RowError(f"line {line}, column {column}: {_shown(value)} is not a number") from None
        if not math.isfinite(number):
            raise RowError(f"line {line}, column {column}: {_shown(value)} is not a finite number")
        return number
    raise RowError(f"line {line}, column {column}: {_shown(value)} is not a number")


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _names(columns: Sequence[str], order: Sequence[int] | None) -> str:
    if order is not None:
        return ", as in the header"
    return f": {', '.join(columns)}" if len(columns) <= 2 * MAX_LISTED else f": {columns[0]}, {columns[1]}, … {columns[-1]}"


def _missing(missing: Sequence[str]) -> str:
    more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
    return f"{_count(len(missing), 'column')} missing: {', '.join(missing[:MAX_LISTED])}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
