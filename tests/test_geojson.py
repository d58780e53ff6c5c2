"""GeoJSON in and out, class names, and whether regions fit the slide."""

from __future__ import annotations

import gzip
import json

import cv2
import numpy as np
import pytest
import shapely

from herscope.core.errors import InputError, OutputError, SchemaError
from herscope.tissue.checks import check_regions, clip_regions
from herscope.tissue.classes import region_name
from herscope.tissue.geojson import read_regions, write_regions
from herscope.tissue.regions import Region, regions_from_mask


def blobs(seed, shape=(90, 120), level=0.5):
    noise = np.random.default_rng(seed).random(shape).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 2.0) > level


def square(x0, y0, x1, y1):
    return [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]


def feature(coordinates, name="Tumor", kind="Polygon", **properties):
    classification = {} if name is None else {"classification": {"name": name}}
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": {"objectType": "annotation", **classification, **properties},
    }


@pytest.fixture
def save(tmp_path):
    def write(document, name="a.geojson"):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    return write


class TestReading:
    def test_all_three_outer_forms_are_read(self, save):
        one = feature(square(0, 0, 4, 4))
        documents = [{"type": "FeatureCollection", "features": [one]}, [one], one]

        for document in documents:
            (region,) = read_regions(save(document))
            assert (region.name, region.area) == ("Tumor", 16)

    def test_gzipped_files_are_read(self, tmp_path):
        path = tmp_path / "a.geojson.gz"
        path.write_bytes(gzip.compress(json.dumps(feature(square(0, 0, 2, 2))).encode()))

        assert read_regions(path)[0].area == 4

    @pytest.mark.parametrize(
        ("label", "name"),
        [
            ("tumour", "Tumor"),
            ("Invasive Carcinoma", "Tumor"),
            ("Tumor: Positive", "Tumor"),
            ("STROMA", "Stroma"),
            ("Necrosis", "Necrosis"),
            ("Other", "Other"),
            ("DCIS", "Other"),
            ("Region*", "Region"),
            ("Ignore*", "Ignore"),
            ("Tissue", "Tissue"),
            ("Positive", None),
        ],
    )
    def test_class_names_are_understood_without_regard_to_spelling(self, label, name):
        assert region_name(label) == name

    def test_multipolygons_and_collections_are_joined(self, save):
        several = feature([square(0, 0, 1, 1), square(2, 0, 3, 1)], kind="MultiPolygon")
        collection = feature(None)
        collection["geometry"] = {
            "type": "GeometryCollection",
            "geometries": [
                {"type": "Polygon", "coordinates": square(0, 0, 2, 2)},
                {"type": "Point", "coordinates": [0, 0]},
            ],
        }

        regions = read_regions(save([several, collection]))

        assert [r.area for r in regions] == [2, 4]
        assert regions.notes == ("left out 1 Point geometries",)

    def test_points_and_cells_are_left_out_and_counted(self, save):
        document = [
            feature(square(0, 0, 2, 2)),
            feature([1, 1], kind="Point"),
            feature(square(0, 0, 1, 1), objectType="cell"),
        ]

        regions = read_regions(save(document))

        assert len(regions) == 1
        assert set(regions.notes) == {"left out 1 Point geometries", "left out 1 cell objects"}

    def test_a_bow_tie_is_repaired_and_said(self, save):
        bow = [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]

        regions = read_regions(save(feature(bow)))

        assert regions[0].geometry.is_valid
        assert regions[0].area == 8
        assert "repaired feature 1" in regions.notes[0]
        assert "self-intersection" in regions.notes[0]

    def test_unclassified_regions_are_refused_with_what_was_found(self, save):
        document = [
            feature(square(0, 0, 2, 2)),
            feature(square(0, 0, 2, 2), None),
            feature(square(0, 0, 2, 2), "Blob"),
        ]

        with pytest.raises(SchemaError, match=r"'Blob' \(1\), 'no class' \(1\).*Tumor") as caught:
            read_regions(save(document))
        assert "Stroma" in caught.value.hint

    @pytest.mark.parametrize(
        ("text", "complaint"),
        [
            ("", "not JSON"),
            ("{not json", "line 1, column 2"),
            ("[" * 100_000, "nested too deeply|not JSON"),
            ("42", "not GeoJSON"),
            ('{"type": "Topology"}', "not GeoJSON"),
            ('{"type": "FeatureCollection", "features": 3}', "int, not a list"),
            ('{"type": "FeatureCollection", "features": []}', "holds no area"),
            ("[7]", "feature 1 of a.geojson is not a GeoJSON Feature"),
        ],
    )
    def test_what_is_not_geojson_is_refused_naming_the_place(self, save, text, complaint):
        with pytest.raises(SchemaError, match=complaint) as caught:
            read_regions(save(text))
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("coordinates", "kind", "complaint"),
        [
            ([[[0, 0], [1, 1], [0, 0]]], "Polygon", "2 corners"),
            ([[[0, 0], [float("nan"), 1], [2, 2], [0, 0]]], "Polygon", "not a pixel"),
            ([[[0, 0], [float("inf"), 1], [2, 2], [0, 0]]], "Polygon", "not a pixel"),
            ([[[0, 0], ["1", 1], [2, 2], [0, 0]]], "Polygon", "not a pair of numbers"),
            ([[[0, 0], [1], [2, 2], [0, 0]]], "Polygon", "not a pair of numbers"),
            (7, "Polygon", "no coordinates"),
            ([7], "Polygon", "a ring is 7"),
            ([[]], "Polygon", "0 corners"),
            ([], "Polygon", "holds no area"),
            ([[0, 0]], "Circle", "type 'Circle'"),
            ([[0, 0], [1, 1]], "LineString", "holds no area"),
            ([[[0, 0], [1, 1], [2, 2], [0, 0]]], "Polygon", "holds no area"),
        ],
    )
    def test_bad_geometry_is_refused_naming_the_feature(self, save, coordinates, kind, complaint):
        with pytest.raises(SchemaError, match=complaint):
            read_regions(save(feature(coordinates, kind=kind)))

    def test_a_huge_integer_is_no_crash(self, save):
        with pytest.raises(SchemaError):
            read_regions(save(feature([[[0, 0], [10**400, 1], [2, 2], [0, 0]]])))

    def test_a_missing_file_and_a_folder_and_a_cut_gzip_are_input_errors(self, tmp_path):
        cut = tmp_path / "cut.geojson.gz"
        cut.write_bytes(gzip.compress(b"[" + b" " * 5000 + b"]")[:-9])

        for path in (tmp_path / "none.geojson", tmp_path, cut):
            with pytest.raises(InputError) as caught:
                read_regions(path)
            assert caught.value.hint

    def test_binary_is_not_text(self, tmp_path):
        path = tmp_path / "slide.geojson"
        path.write_bytes(b"\xff\xd8\xff\xe0 a picture")

        with pytest.raises(SchemaError, match="not text"):
            read_regions(path)


class TestWriting:
    @pytest.mark.parametrize("name", ["r.geojson", "r.geojson.gz"])
    def test_regions_survive_the_round_trip(self, tmp_path, name):
        mask = blobs(1)
        regions = regions_from_mask(mask, 16.5, 16.0, "Tissue")
        regions.append(Region("Ignore", shapely.box(0.25, 0, 3, 3)))

        write_regions(tmp_path / name, regions)
        back = read_regions(tmp_path / name)

        assert [r.name for r in back] == [r.name for r in regions]
        assert all(a.geometry.equals(b.geometry) for a, b in zip(back, regions, strict=True))
        assert back.notes == ()

    def test_the_file_is_what_qupath_expects(self, tmp_path):
        write_regions(tmp_path / "r.geojson", [Region("Ignore", shapely.box(0, 0, 2, 2))])

        document = json.loads((tmp_path / "r.geojson").read_text())
        (written,) = document["features"]

        assert document["type"] == "FeatureCollection"
        assert written["properties"]["objectType"] == "annotation"
        assert written["properties"]["classification"]["name"] == "Ignore*"
        assert len(written["properties"]["classification"]["color"]) == 3
        assert len(written["id"]) == 36

    def test_the_same_regions_give_the_same_bytes(self, tmp_path):
        regions = regions_from_mask(blobs(2), 8, 8, "Tissue")

        write_regions(tmp_path / "a.geojson.gz", regions)
        write_regions(tmp_path / "b.geojson.gz", regions)

        assert (tmp_path / "a.geojson.gz").read_bytes()[10:] == (
            tmp_path / "b.geojson.gz"
        ).read_bytes()[10:]

    def test_a_missing_folder_is_an_output_error_and_leaves_nothing(self, tmp_path):
        with pytest.raises(OutputError):
            write_regions(tmp_path / "no" / "r.geojson", [])
        assert list(tmp_path.iterdir()) == []


class TestChecks:
    def test_good_regions_have_no_problem(self):
        regions = [
            Region("Tumor", shapely.box(0, 0, 50, 50)),
            Region("Stroma", shapely.box(50, 0, 100, 50)),
            Region("Tissue", shapely.box(0, 0, 100, 100)),
        ]

        assert check_regions(regions, 100, 100) == []

    def test_a_region_outside_the_slide_is_an_error(self):
        (problem,) = check_regions([Region("Tumor", shapely.box(200, 0, 300, 10))], 100, 100)

        assert (problem.code, problem.severity) == ("outside", "error")
        assert "200 to 300" in problem.message
        assert "100 x 100" in problem.message

    def test_a_region_partly_outside_is_clipped_and_said(self):
        regions = [Region("Tumor", shapely.box(90, 0, 110, 10))]

        (problem,) = check_regions(regions, 100, 100)
        (clipped,) = clip_regions(regions, 100, 100)

        assert (problem.code, problem.severity, problem.area_px2) == ("clipped", "note", 100)
        assert clipped.area == 100

    def test_overlapping_classes_are_named_with_their_area(self):
        regions = [
            Region("Tumor", shapely.box(0, 0, 50, 50)),
            Region("Stroma", shapely.box(40, 0, 90, 50)),
            Region("Tumor", shapely.box(0, 0, 20, 20)),
        ]

        (problem,) = check_regions(regions, 100, 100)

        assert (problem.code, problem.names) == ("overlap", ("Tumor", "Stroma"))
        assert problem.area_px2 == 500

    def test_errors_come_first(self):
        regions = [
            Region("Tumor", shapely.box(90, 0, 110, 10)),
            Region("Stroma", shapely.box(300, 0, 310, 10)),
        ]

        assert [p.severity for p in check_regions(regions, 100, 100)] == ["error", "note"]
