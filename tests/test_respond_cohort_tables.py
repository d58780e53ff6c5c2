"""Excel, CSV and Parquet tables of patients: both forms of OOXML, cleaning, damaged files."""

import io
import zipfile

import pytest

from herscope.core.errors import HerscopeError, InputError, SchemaError
from herscope.respond.cohort import ooxml, xlsx
from herscope.respond.cohort.cohort_spec import TableSpec
from herscope.respond.cohort.tables import clean, read_sheet, read_tables
from herscope.respond.cohort.xlsx import read_xlsx, sheet_names
from herscope.respond.cohort.xlsx_cells import shows_a_date
from herscope.stats.table import from_columns

TRANSITIONAL = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
)
STRICT = (
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
    "http://purl.oclc.org/ooxml/officeDocument/relationships",
)
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
STYLES = (
    '<numFmts count="1"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/></numFmts>'
    '<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/></cellXfs>'
)
ROWS = (
    '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c>'
    '<c r="C1" t="inlineStr"><is><t>TILs</t></is></c><c r="D1" t="str"><v>start</v></c></row>'
    '<row r="2"><c r="A2" t="s"><v>2</v></c><c r="B2" t="s"><v>3</v></c>'
    '<c r="C2"><v>0.55000000000000004</v></c><c r="D2" s="1"><v>42000</v></c></row>'
    '<row r="4"><c r="A4"><v>7</v></c><c r="C4"><f>1/0</f></c><c r="D4" s="2"><v>61</v></c></row>'
    '<row r="900"><c r="A900" t="s"><v>4</v></c></row>'
)


HEADING = '<c r="A1" t="s"><v>0</v></c>'


def workbook(
    path, rows=ROWS, *, form=TRANSITIONAL, sheets=("data",), head="", shared=None, properties=""
):
    """Write a workbook of which every sheet has the same rows."""
    main, relations = form
    texts = shared or ("patient", "her2", "p1", "none（all3+）", "  ")
    start = f'<?xml version="1.0" encoding="UTF-8"?>{head}'
    listed = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="s{i}"/>' for i, name in enumerate(sheets, 1)
    )
    targets = "".join(
        f'<Relationship Id="s{i}" Type="{relations}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    )
    parts = {
        "_rels/.rels": f'{start}<Relationships xmlns="{PACKAGE}"><Relationship Id="r" '
        f'Type="{relations}/officeDocument" Target="/xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{start}<workbook xmlns="{main}" xmlns:r="{relations}">'
        f"{properties}<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'{start}<Relationships xmlns="{PACKAGE}">{targets}'
        f'<Relationship Id="t" Type="{relations}/sharedStrings" Target="sharedStrings.xml"/>'
        f'<Relationship Id="y" Type="{relations}/styles" Target="styles.xml"/></Relationships>',
        "xl/sharedStrings.xml": f'{start}<sst xmlns="{main}">'
        + "".join(f"<si><r><t>{t}</t></r><rPh><t>reading</t></rPh></si>" for t in texts)
        + "</sst>",
        "xl/styles.xml": f'{start}<styleSheet xmlns="{main}">{STYLES}</styleSheet>',
    }
    for i in range(1, len(sheets) + 1):
        parts[f"xl/worksheets/sheet{i}.xml"] = (
            f'{start}<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, text in parts.items():
            package.writestr(name, text)
    return path


@pytest.mark.parametrize("form", [TRANSITIONAL, STRICT], ids=["transitional", "strict"])
def test_both_forms_of_ooxml_give_the_same_table(tmp_path, form):
    table, notes = read_xlsx(workbook(tmp_path / "t.xlsx", form=form))

    assert table.rows == (1, 3)
    assert dict(table.columns) == {
        "patient": ("p1", "7"),
        "her2": ("none（all3+）", None),
        "TILs": ("0.55", None),
        "start": ("2014-12-27", "1900-03-01"),
    }
    assert any("formulas without" in note for note in notes)
    assert any("digits beyond" in note for note in notes)


def test_days_before_the_false_leap_day_are_right(tmp_path):
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
        '<row r="2"><c r="A2" s="1"><v>1</v></c></row>'
        '<row r="3"><c r="A3" s="1"><v>59</v></c></row>'
        '<row r="4"><c r="A4" s="1"><v>60</v></c></row>'
        '<row r="5"><c r="A5" s="1"><v>42000.75</v></c></row>'
    )

    table, _ = read_xlsx(workbook(tmp_path / "t.xlsx", rows))

    assert table.columns["patient"] == ("1900-01-01", "1900-02-28", "60", "2014-12-27 18:00:00")


def test_days_can_count_from_1904(tmp_path):
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="A2" s="1"><v>1</v></c></row>'
    )
    path = workbook(tmp_path / "t.xlsx", rows, properties='<workbookPr date1904="1"/>')

    assert read_xlsx(path)[0].columns["patient"] == ("1904-01-02",)


@pytest.mark.parametrize(
    ("code", "date"), [("d/m/yy", True), ("General", False), ('0" d"', False), ("[Red]0.0", False)]
)
def test_dates_are_told_from_numbers_by_their_format(code, date):
    assert shows_a_date(code) == date


def test_a_sheet_is_found_by_name_and_must_be_named_among_several(tmp_path):
    path = workbook(tmp_path / "t.xlsx", sheets=("anti-HER2", "anti-HER2+IO"))

    assert sheet_names(path) == ["anti-HER2", "anti-HER2+IO"]
    assert len(read_xlsx(path, "Anti-HER2 ")[0]) == 2
    with pytest.raises(InputError, match="2 sheets: anti-HER2, anti-HER2"):
        read_xlsx(path)
    with pytest.raises(InputError, match="no sheet 'antiHER2'") as caught:
        read_xlsx(path, "antiHER2")
    assert "did you mean anti-HER2?" in caught.value.hint


def test_a_document_type_is_refused_before_it_is_parsed(tmp_path):
    bomb = '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'

    with pytest.raises(SchemaError, match="document type declaration"):
        read_xlsx(workbook(tmp_path / "t.xlsx", head=bomb))


def test_a_document_type_cannot_hide_behind_another_encoding(tmp_path):
    path = workbook(tmp_path / "t.xlsx")
    sheet = "xl/worksheets/sheet1.xml"
    hidden = '<?xml version="1.0" encoding="UTF-7"?><!DOCTYPE b []><b/>'
    for raw in (hidden.encode("utf-16"), hidden.encode("utf-8")):
        replaced = tmp_path / "r.xlsx"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(replaced, "w") as new:
            for name in old.namelist():
                new.writestr(name, raw if name == sheet else old.read(name))
        with pytest.raises(SchemaError, match="document type"):
            read_xlsx(replaced)


def test_a_part_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ooxml, "MOST_PART_BYTES", 1 << 16)
    rows = f'<row r="1"><c r="A1" t="str"><v>{"a" * (1 << 17)}</v></c></row>'

    with pytest.raises(SchemaError, match="unpacks to more than"):
        read_xlsx(workbook(tmp_path / "t.xlsx", rows))


def test_too_many_cells_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(xlsx, "MOST_CELLS", 5)

    with pytest.raises(SchemaError, match="more than 5 cells"):
        read_xlsx(workbook(tmp_path / "t.xlsx"))


@pytest.mark.parametrize("keep", [0, 4, 200, 900, -30])
def test_a_truncated_file_is_an_error_for_people(tmp_path, keep):
    whole = workbook(tmp_path / "t.xlsx").read_bytes()
    cut = tmp_path / "cut.xlsx"
    cut.write_bytes(whole[:keep])

    with pytest.raises(SchemaError) as caught:
        read_sheet(cut)
    assert caught.value.hint


def test_flipped_bytes_give_a_table_or_an_error_and_never_a_traceback(tmp_path):
    whole = workbook(tmp_path / "t.xlsx").read_bytes()
    broken = tmp_path / "b.xlsx"
    refused = 0
    for place in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[place] ^= 0x5A
        broken.write_bytes(bytes(changed))
        try:
            read_sheet(broken)
        except HerscopeError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "is empty"),
        ('<row r="1"><c r="A1" t="s"><v>0</v></c></row>', "no rows below"),
        (
            '<row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="B2"><v>1</v></c></row>',
            "column B has the value '1' and no heading",
        ),
        (
            f'<row r="1">{HEADING}<c r="B1" t="s"><v>0</v></c></row><row><c><v>1</v></c></row>',
            "'patient' more than once",
        ),
        ('<row r="1"><c r="A1" t="s"><v>99</v></c></row>', "refers to text '99'"),
        ('<row r="0"><c r="A1"><v>1</v></c></row>', "row '0'"),
        ('<row r="1"><c r="AAAA1"><v>1</v></c></row>', "cell 'AAAA1'"),
        ('<row r="1"><c', "no valid XML"),
    ],
)
def test_a_sheet_that_is_no_table_is_refused(tmp_path, rows, said):
    with pytest.raises(SchemaError, match=said):
        read_xlsx(workbook(tmp_path / "t.xlsx", rows))


def test_other_files_under_the_name_of_a_sheet_are_told_apart(tmp_path):
    old = tmp_path / "old.xlsx"
    old.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 100)
    with pytest.raises(SchemaError, match="protected by a password"):
        read_sheet(old)

    other = tmp_path / "other.xlsx"
    with zipfile.ZipFile(other, "w") as package:
        package.writestr("word/document.xml", "<a/>")
    with pytest.raises(SchemaError, match="without a workbook"):
        read_sheet(other)

    with pytest.raises(InputError, match="cannot be read"):
        read_sheet(tmp_path / "absent.xlsx")
    with pytest.raises(InputError, match="old Excel"):
        read_sheet(tmp_path / "a.xls")


def test_full_width_text_and_smeared_decimals_are_cleaned_and_counted():
    table = from_columns(
        {
            "ＨＥＲ２": ["none（all３+）", "ＮＡ", "pMMR"],
            "TILs": ["0.55000000000000004", "0.3\u200b", "1"],
        }
    )

    cleaned, notes = clean(table)

    assert dict(cleaned.columns) == {
        "HER2": ("none(all3+)", None, "pMMR"),
        "TILs": ("0.55", "0.3", "1"),
    }
    assert set(notes) == {
        "table: 1 cell(s) with invisible characters",
        "table: 3 cell(s) with full-width characters",
        "table: 1 number(s) with digits beyond their precision",
    }


def test_two_headings_that_become_one_are_refused():
    with pytest.raises(SchemaError, match="'TILs' more than once"):
        clean(from_columns({"TILs": ["1"], "ＴＩＬｓ": ["2"]}))


def test_a_second_table_adds_columns_by_patient(tmp_path):
    (tmp_path / "a.csv").write_text("id,sex\np1,f\np2,m\np3,m\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("tils,id\n0.4,p3\n0.1,p1\n0.2,p9\n", encoding="utf-8")
    specs = [TableSpec(file="a.csv"), TableSpec(file="b.csv")]

    table, notes = read_tables(specs, "id", tmp_path)

    assert table.column("tils") == ("0.1", None, "0.4")
    assert "1 patient(s) of a.csv are not in it, 1 of its own are left out" in notes[-1]


def test_a_second_table_adds_patients(tmp_path):
    (tmp_path / "a.csv").write_text("id,sex\np1,f\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("sex,id\nm,p2\n", encoding="utf-8")
    specs = [TableSpec(file="a.csv"), TableSpec(file="b.csv", adds="rows")]

    table, _ = read_tables(specs, "id", tmp_path)

    assert (table.column("id"), table.rows) == (("p1", "p2"), (1, 2))
    (tmp_path / "b.csv").write_text("sexx,id\nm,p2\n", encoding="utf-8")
    with pytest.raises(SchemaError, match="has the column 'sex"):
        read_tables(specs, "id", tmp_path)


def test_a_column_in_two_tables_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,sex\np1,f\n", encoding="utf-8")
    specs = [TableSpec(file="a.csv"), TableSpec(file="a.csv")]

    with pytest.raises(SchemaError, match="both have the column 'sex'"):
        read_tables(specs, "id", tmp_path)


def test_a_row_without_a_patient_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,sex\np1,f\n,m\n", encoding="utf-8")

    with pytest.raises(InputError, match="row 2, column id: the patient is missing"):
        read_tables([TableSpec(file="a.csv")], "id", tmp_path)


def test_a_parquet_table_reads_like_its_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"id": ["p1", "p2"], "tils": [0.55, None]})
    frame.to_parquet(tmp_path / "a.parquet")
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False)
    (tmp_path / "a.csv").write_text(buffer.getvalue(), encoding="utf-8")

    assert read_sheet(tmp_path / "a.parquet")[0].columns == (
        read_sheet(tmp_path / "a.csv")[0].columns
    )
