"""Micrometres per pixel: which source is believed, and the table a user may state it in."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from herscope.core.errors import InputError, SchemaError, UnknownResolution
from herscope.slide.opened import open_slide
from herscope.slide.protocol import StatedResolution
from herscope.slide.resolution import SlideSpec, read_mpp_table, resolve_mpp

META = {"mpp_x": 0.25, "mpp_y": 0.26}
TAGS = {"tag_mpp_x": 0.46, "tag_mpp_y": 0.46}
DPI_96 = {"tag_mpp_x": 264.6, "tag_mpp_y": 264.6}
POWER = {"objective_power": 40.0}
USER = {"mpp": 0.5, "mpp_table": {"a.svs": 0.6}}

POLICY = [
    (META | TAGS | POWER, USER | {"override_mpp": 0.3}, (0.3, 0.3, "override (--override-mpp)")),
    (META | TAGS | POWER, USER, (0.25, 0.26, "metadata")),
    ({"mpp_x": 0.25}, {}, (0.25, 0.25, "metadata")),
    (TAGS | POWER, USER, (0.46, 0.46, "resolution tags")),
    (DPI_96 | POWER, USER, (0.6, 0.6, "stated (mpp table)")),
    (POWER, USER, (0.6, 0.6, "stated (mpp table)")),
    (POWER, {"mpp": 0.5}, (0.5, 0.5, "stated (--mpp)")),
    (DPI_96 | POWER, {"mpp_table": {"b.svs": 0.6}}, (0.25, 0.25, "objective power (guessed)")),
    ({}, {"mpp_table": {"a": 0.6}}, (0.6, 0.6, "stated (mpp table)")),
    ({"mpp_x": 0.0, "mpp_y": 0.0} | POWER, {}, (0.25, 0.25, "objective power (guessed)")),
    ({"mpp_x": 352.8, "mpp_y": 352.8}, {"mpp": 0.5}, (0.5, 0.5, "stated (--mpp)")),
    ({"mpp_x": 0.25, "mpp_y": 2.5} | TAGS, {}, (0.46, 0.46, "resolution tags")),
]


@pytest.mark.parametrize(("stated", "spec", "expected"), POLICY)
def test_sources_are_believed_in_order(stated, spec, expected):
    assert resolve_mpp(StatedResolution(**stated), SlideSpec(**spec), "x/a.svs") == expected


@pytest.mark.parametrize("dpi", [72, 96, 120, 300, 600, 1200, 2400, 4800])
def test_a_printers_dpi_is_no_resolution(dpi):
    stated = StatedResolution(tag_mpp_x=25400 / dpi, tag_mpp_y=25400 / dpi)

    with pytest.raises(UnknownResolution, match=f"{dpi} dpi"):
        resolve_mpp(stated, SlideSpec(), "a.jpg")


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({}, "slide a.tif has no usable resolution$"),
        ({"mpp_x": 1e-9}, "metadata states 1e-09 µm/px, which no microscope makes"),
        ({"mpp_x": 0.25, "mpp_y": 5.0}, "0.25 by 5 µm/px, which are no square pixels"),
        ({"tag_mpp_x": 0.25, "tag_mpp_y": 3.0}, "tags state 0.25 by 3 µm/px, which are no square"),
        ({"objective_power": 4000.0}, "objective power is 4000, which no microscope has"),
    ],
)
def test_what_is_not_believed_is_named_with_a_hint(stated, words):
    with pytest.raises(UnknownResolution, match=words) as caught:
        resolve_mpp(StatedResolution(**stated), SlideSpec(), "a.tif")
    assert "--mpp" in caught.value.hint
    assert "CSV" in caught.value.hint
    assert "study.toml" in caught.value.hint


@pytest.mark.parametrize("field", ["mpp", "override_mpp"])
@pytest.mark.parametrize("value", [0.0, -0.25, 250.0])
def test_absurd_stated_figures_are_refused(field, value):
    with pytest.raises(ValueError, match="not a microscope's resolution"):
        SlideSpec(**{field: value})


def test_the_fingerprint_ignores_the_order_of_the_tables_rows():
    one = SlideSpec(mpp_table={"a": 0.5, "b": 0.25})
    two = SlideSpec(mpp_table={"b": 0.25, "a": 0.5})

    assert one.fingerprint() == two.fingerprint()
    assert one.fingerprint() != SlideSpec(mpp_table={"a": 0.5}).fingerprint()


def test_a_table_is_read_with_suffixes_semicolons_and_blank_lines(tmp_path):
    path = tmp_path / "mpp.csv"
    path.write_text("\ufeffSlide;Case;MPP\ncases/a.svs;7;0,25\n;;\nb.tif;8;0.5\n", "utf-8")

    assert read_mpp_table(path) == {"a.svs": 0.25, "b.tif": 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column slide and no column mpp .it has: nothing"),
        ("slide,um\na,1\n", "no column mpp .it has: slide, um"),
        ("slide,mpp\na,0.25\nb,fine\n", "row 3: mpp is 'fine', not a number"),
        ("slide,mpp\na,\n", "row 2: mpp is '', not a number"),
        ("slide,mpp\na\n", "row 2: mpp is '', not a number"),
        ("slide,mpp\na,250\n", "row 2: 250 µm/px is not a microscope's resolution"),
        ("slide,mpp\n,0.25\n", "row 2: no slide is named"),
        ("slide,mpp\na,0.25\na,0.5\n", "row 3: a has 0.25 µm/px above and 0.5 here"),
    ],
)
def test_a_wrong_table_names_its_row(tmp_path, text, words):
    path = tmp_path / "mpp.csv"
    path.write_text(text)

    with pytest.raises(SchemaError, match=words) as caught:
        read_mpp_table(path)
    assert caught.value.hint


def test_a_table_that_cannot_be_read_says_so(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00bad")

    for name, why in (("a.csv", "not UTF-8"), ("absent.csv", "no such file")):
        with pytest.raises(InputError, match=why):
            read_mpp_table(tmp_path / name)


PIXELS = np.full((64, 64, 3), 200, np.uint8)
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Instrument><Objective NominalMagnification="20"/></Instrument><Image><Pixels SizeX="9" '
    'SizeY="9" PhysicalSizeX="9" PhysicalSizeY="9"/></Image><Image><Pixels PhysicalSizeX="{0}" '
    'PhysicalSizeXUnit="{1}" PhysicalSizeY="{0}" PhysicalSizeYUnit="{1}" SizeX="64" SizeY="64"/>'
    "</Image></OME>"
)


@pytest.mark.parametrize(
    ("description", "resolution", "unit", "expected"),
    [
        ("Aperio x\n64x64|MPP = 0.2521|AppMag = 40", None, None, (0.2521, "metadata")),
        ("Aperio x\n64x64|AppMag = 40", None, None, (0.25, "objective power (guessed)")),
        (OME.format("0.5", "&#181;m"), None, None, (0.5, "metadata")),
        (OME.format("250", "nm"), None, None, (0.25, "metadata")),
        (OME.format("0.00025", "mm"), None, None, (0.25, "metadata")),
        (OME.format("3", "pixel"), None, None, (0.5, "objective power (guessed)")),
        ("ImageJ=1.54f\nunit=micron\n", (4.0, 4.0), 1, (0.25, "metadata")),
        ("", (4e4, 4e4), 3, (0.25, "resolution tags")),
        ("", (50800.0, 50800.0), 2, (0.5, "resolution tags")),
    ],
)
def test_tiff_metadata_give_the_scale(tmp_path, description, resolution, unit, expected):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        PIXELS,
        photometric="rgb",
        tile=(64, 64),
        description=description.encode(),
        metadata=None,
        resolution=resolution,
        resolutionunit=unit,
    )

    with open_slide(path) as slide:
        assert slide.info.mpp == pytest.approx(expected[0], rel=1e-6)
        assert slide.info.mpp_source == expected[1]


def test_a_density_in_png_or_jpeg_counts_only_when_it_makes_sense(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "fine.png", dpi=(101600, 101600))
    image.save(tmp_path / "screen.jpg", dpi=(96, 96))

    with open_slide(tmp_path / "fine.png") as slide:
        assert slide.info.mpp == pytest.approx(0.25, rel=1e-4)
        assert slide.info.mpp_source == "resolution tags"
    with pytest.raises(UnknownResolution, match="96 dpi"):
        open_slide(tmp_path / "screen.jpg")
