import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainingjob_trainer.rows import RowError, read_rows

COLUMNS = ("x", "y", "z")

GOOD = {
    "plain": "1,2,3\n4,5,6\n",
    "header": "x,y,z\n1,2,3\n4,5,6\n",
    "header in another order, with more columns": "z,name,y,x\n3,a,2,1\n6,b,5,4\n",
    "blanks, empty lines, no last newline": "\n 1, 2, 3\n\n4,5,6",
    "quotes": '"x","y","z"\n"1","2","3"\n4,5,6\n',
    "carriage returns": "1,2,3\r\n4,5,6\r\n",
    "byte order mark": "\ufeffx,y,z\n1,2,3\n4,5,6\n",
    "exponents": "1e0,2E0,+3\n4.0,5.,6\n",
    "json lists": "[1, 2, 3]\n\n[4, 5, 6]\n",
    "json objects": '{"z": 3, "x": 1, "y": 2, "name": "a"}\n{"x": 4, "y": 5, "z": 6}\n',
}


@pytest.mark.parametrize("name", GOOD)
def test_rows_are_read(name):
    assert read_rows(GOOD[name], COLUMNS) == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


BAD = {
    "": "there are no rows; give one row of 3 numbers a line",
    "x,y,z\n": "there are no rows",
    "1,2\n": "line 1: 2 columns, but 3 are needed: x, y, z",
    "1,2,3\n1,2,3,4\n": "line 2: 4 columns, but 3 are needed",
    "x,y,z\n1,2\n": "line 2: 2 columns, but 3 are needed, as in the header",
    "1,2,3\n1,abc,3\n": "line 2, column y: 'abc' is not a number",
    "1,,3\n": "line 1, column y: '' is not a number",
    "x,z,y\n1,2,nan\n": "line 2, column y: 'nan' is not a finite number",
    "1,2,inf\n": "line 1, column z: 'inf' is not a finite number",
    "x,q\n1,2\n": "the header (line 1): 2 columns missing: y, z; without a header give the 3 numbers in the model's order",
    '1,"2,3\n': "line 1: not CSV",
    "[1, 2]\n": "line 1: 2 numbers, but 3 are needed: x, y, z",
    "[1, 2, 3]\n[1, 2, true]\n": "line 2, column z: True is not a number",
    '[1, 2, 3]\n{"x": 1, "y": 2}\n': "line 2: 1 column missing: z",
    "[1, 2, 3]\n5\n": "line 2: a row is a list of numbers or an object by column name",
    "[1, 2, 3\n": "line 1: not JSON",
    "[1, 2, 1e999]\n": "line 1, column z: inf is not a finite number",
    "[1, 2, " + "9" * 400 + "]\n": "line 1, column z:",
}


@pytest.mark.parametrize("text", BAD)
def test_a_row_that_cannot_be_used_is_told_by_line_and_column(text):
    with pytest.raises(RowError, match=re.escape(BAD[text])):
        read_rows(text, COLUMNS)


def test_many_columns_are_not_all_listed():
    with pytest.raises(RowError, match=r"line 1: 1 column, but 64 are needed: p0, p1, … p63"):
        read_rows("1\n", [f"p{index}" for index in range(64)])


@settings(deadline=None)
@given(text=st.text(alphabet='0123456789.,-+e"[]{}: \n\r\t\0\ufeffxyz'))
def test_any_text_gives_rows_or_an_explanation(text):
    try:
        rows = read_rows(text, COLUMNS)
    except RowError:
        return
    assert all(len(row) == 3 for row in rows)


@settings(deadline=None)
@given(values=st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3), min_size=1, max_size=5))
def test_every_number_is_read_exactly(values):
    assert read_rows("".join(f"{x!r},{y!r},{z!r}\n" for x, y, z in values), COLUMNS) == [list(row) for row in values]
