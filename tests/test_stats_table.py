"""Reading tables of cases: what is refused names the row, the column and the remedy."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herscope.core.errors import InputError, SchemaError
from herscope.stats.table import from_columns, read_table


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_csv_file_is_read_whatever_its_separator(tmp_path, mark):
    text = f"\ufeffcase{mark}a\n007{mark}1+\n008{mark}3+\n"

    table = read_table(written(tmp_path / "t.csv", text))

    assert table.labels("a") == ["1+", "3+"]
    assert table.unique("case") == ["007", "008"]


def test_csv_and_parquet_of_the_same_table_read_alike(tmp_path):
    columns = {"case": ["a", "b", "c"], "h": [12.5, None, 300.0], "grade": [1, 2, 3]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    written(tmp_path / "t.csv", "case,h,grade\na,12.5,1\nb,NA,2\nc,300,3\n")

    one, two = read_table(tmp_path / "t.csv"), read_table(tmp_path / "t.parquet")

    assert one.columns == two.columns
    assert one.complete(["h"], drop_missing=True).numbers("h").tolist() == [12.5, 300.0]


def test_a_missing_column_names_the_nearest(tmp_path):
    table = read_table(written(tmp_path / "t.csv", "reader_a,reader_b\n1,2\n"))

    with pytest.raises(SchemaError, match="no column 'Reader-A'") as caught:
        table.numbers("Reader-A")

    assert "reader_a" in caught.value.hint


@pytest.mark.parametrize(
    ("cell", "remedy"),
    [("pos", "another column"), ("1,5", "1.5, not 1,5"), ("80 %", "leave the unit out")],
)
def test_text_among_numbers_is_named_with_row_and_remedy(cell, remedy):
    table = from_columns({"h": ["1", "2", cell]}, "readers.csv")

    with pytest.raises(InputError, match=r"readers\.csv, row 3, column h: .* is not a number") as e:
        table.numbers("h")

    assert remedy in e.value.hint


def test_missing_values_are_refused_or_left_out_and_counted():
    table = from_columns({"a": ["0", "NA", "2", ""], "b": ["0", "1", "[Not Available]", "3"]})

    with pytest.raises(InputError, match=r"row 2, column a: .*missing of 4 rows: a 2, b 1"):
        table.complete(["a", "b"])
    kept = table.complete(["a", "b"], drop_missing=True)

    assert kept.rows == (1,)
    assert kept.dropped == {"rows with a missing value": 3}
    with pytest.raises(InputError, match="no row has a value in all"):
        from_columns({"a": ["1", ""], "b": ["", "1"]}).complete(["a", "b"], drop_missing=True)


def test_rows_keep_their_number_in_the_file_when_others_are_left_out():
    table = from_columns({"a": ["", "1", "x"]}).complete(["a"], drop_missing=True)

    with pytest.raises(InputError, match="row 3, column a"):
        table.numbers("a")


def test_a_case_in_two_rows_is_refused():
    with pytest.raises(InputError, match="'p2' stands in rows 2, 3"):
        from_columns({"id": ["p1", "p2", "p2"]}).unique("id")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "no header"),
        ("t.csv", "a,b\n", "no rows"),
        ("t.csv", "a,a\n1,2\n", "'a' more than once"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", "row 2: 3 cells, the header has 2"),
        ("t.csv", 'a,b\n"1,2\n', "no CSV table"),
        ("t.parquet", "nonsense", "no readable Parquet"),
        ("t.xlsx", "x", "neither CSV nor Parquet"),
    ],
)
def test_what_is_no_table_is_refused_in_plain_words(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(written(tmp_path / name, text))

    assert caught.value.hint


def test_a_file_that_is_not_there_or_not_utf8_is_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(SchemaError, match="not UTF-8"):
        read_table(written(tmp_path / "t.csv", "größe\n1\n", "latin-1"))
