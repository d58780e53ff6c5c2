import tomllib
from pathlib import Path
from typing import Literal

import jsonschema
import pytest
from pydantic import Field

from herscope.core.errors import InputError, SchemaError
from herscope.core.spec import Spec
from herscope.core.study import build, load_study, study_schema, study_template, with_values
from herscope.core.units import Mpp


class BlurSpec(Spec):
    """How much is blurred."""

    radius_um: float = Field(default=2.0, gt=0, le=50, description="Radius of the blur")
    passes: int = Field(default=1, ge=1, description="How often")
    kind: Literal["box", "gauss"] = Field(default="gauss", description="Kernel")


class WholeSpec(Spec):
    """Everything."""

    marker: str = Field(default='a "quoted" \\ name', description="What is stained")
    mpp: Mpp | None = Field(default=None, description="Scale of files that state none")
    weights: tuple[float, float] = Field(default=(0.5, 1e-7), description="Two weights")
    table: dict[str, float] = Field(default_factory=dict, description="By file")
    on: bool = Field(default=True, description="Whether to")
    blur: BlurSpec = Field(default=BlurSpec(), description="The blur")


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path, text):
    with pytest.raises(SchemaError) as caught:
        load_study(write(tmp_path, text), WholeSpec)
    return caught.value


def test_the_template_loads_back_to_the_default(tmp_path):
    text = study_template(WholeSpec)

    assert load_study(write(tmp_path, text), WholeSpec) == WholeSpec()
    assert set(tomllib.loads(text)) == {"marker", "weights", "table", "on", "blur"}


def test_the_template_says_meaning_unit_limits_and_choices():
    text = study_template(WholeSpec)

    assert "# Radius of the blur (µm; > 0; <= 50)\nradius_um = 2.0" in text
    assert "# Kernel (one of box, gauss)" in text
    assert "# mpp =    (not set)" in text
    assert "# The blur\n[blur]" in text


def test_values_of_the_file_are_used_and_the_others_keep_their_defaults(tmp_path):
    path = write(tmp_path, 'mpp = 0.25\n[blur]\nkind = "box"\n')

    spec = load_study(path, WholeSpec)

    assert spec.mpp == 0.25
    assert spec.blur.kind == "box"
    assert spec.blur.radius_um == 2.0


def test_an_unknown_key_is_refused_with_line_table_and_nearest_name(tmp_path):
    error = refused(tmp_path, "on = true\n\n[blur]\npasses = 2\nradius_mu = 3.0\n")

    assert "study.toml, line 5: [blur] radius_mu is not a known key" in error.message
    assert error.hint == "did you mean radius_um?"


def test_an_unknown_table_is_refused(tmp_path):
    error = refused(tmp_path, "[blurr]\npasses = 2\n")

    assert "line 1: blurr is not a known key" in error.message
    assert "blur" in error.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[blur]\nradius_um = "wide"', "line 2: [blur] radius_um must be a number, got 'wide'"),
        ("[blur]\nradius_um = -1.0", "line 2: [blur] radius_um must be greater than 0, got -1.0"),
        ("[blur]\npasses = 1.5", "line 2: [blur] passes must be a whole number, got 1.5"),
        ('[blur]\nkind = "disc"', "line 2: [blur] kind must be 'box' or 'gauss', got 'disc'"),
        ("blur = 3", "line 1: blur must be a table, got 3"),
        ('on = "maybe"', "line 1: on must be true or false, got 'maybe'"),
        ("weights = [1.0]", "line 1: [weights]"),
        ("mpp = 0.0001", "line 1: mpp is not allowed: 0.0001 µm/px is not a microscope's"),
        ("blur.passes = 0", "line 1: [blur] passes must be greater than or equal to 1, got 0"),
        ("[blur]\nradius_um = nan", "radius_um must be a finite number"),
    ],
)
def test_wrong_values_are_refused_in_plain_words(tmp_path, text, said):
    error = refused(tmp_path, text)

    assert said in error.message
    assert "pydantic" not in error.message
    assert "\n" not in error.message


def test_a_file_that_is_no_toml_is_refused(tmp_path):
    assert "is not valid TOML" in refused(tmp_path, "a = = 3").message


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xff\xfe\x00binary")

    with pytest.raises(SchemaError, match="not a text file"):
        load_study(path, WholeSpec)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot be read") as caught:
        load_study(tmp_path / name, WholeSpec)

    assert "herscope init" in caught.value.hint


def test_the_schema_accepts_the_template_and_refuses_what_loading_refuses():
    schema = study_schema(WholeSpec)
    default = tomllib.loads(study_template(WholeSpec))

    jsonschema.validate(default, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(default | {"nonsense": 1}, schema)


def test_changed_values_are_validated_again():
    spec = with_values(WholeSpec(), {"blur.passes": 3, "mpp": 0.5})

    assert (spec.blur.passes, spec.mpp) == (3, 0.5)
    with pytest.raises(SchemaError, match=r"option: \[blur\] passes must be greater"):
        with_values(WholeSpec(), {"blur.passes": 0})


def test_building_counts_further_problems():
    with pytest.raises(SchemaError, match="and 1 more"):
        build(WholeSpec, {"on": 7, "blur": {"passes": 0}}, where="here")


def test_the_real_study_template_loads_back_and_documents_every_field(tmp_path):
    score_spec = pytest.importorskip("herscope.score.spec").ScoreSpec
    text = study_template(score_spec)

    assert load_study(write(tmp_path, text), score_spec) == score_spec()
    undocumented = [
        f"{owner.__name__}.{name}"
        for owner, name in fields(score_spec)
        if not described(owner, name)
    ]
    assert undocumented == []


def fields(spec_class):
    for name, field in spec_class.model_fields.items():
        yield spec_class, name
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Spec):
            yield from fields(type(default))


def described(owner, name):
    return owner.model_fields[name].description


def test_no_machine_path_gets_into_the_template():
    assert str(Path.cwd()) not in study_template(WholeSpec)
