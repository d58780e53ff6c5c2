import hashlib

import pytest

from herscope.core import provenance
from herscope.core.errors import ModelError, UnknownModel, WeightsUnavailable, WrongInput
from herscope.core.registry import CARDS, ModelCard, Registry


def card(**changes):
    values = {
        "name": "net",
        "task": "nuclei",
        "summary": "A net.",
        "input_mpp_finest": 0.5,
        "input_mpp_coarsest": 0.5,
        "input_size_px": 512,
        "normalisation": "none",
        "licence": "Apache-2.0",
        "source": "here",
        "training_data": "phantoms",
    }
    return ModelCard.model_validate(values | changes)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownModel, match="no model is called clasical") as caught:
        CARDS.make("clasical")

    assert caught.value.hint.startswith("did you mean classical?")


def test_a_name_cannot_be_registered_twice():
    registry = Registry[int]("thing")
    registry.register("a")(lambda: 1)

    with pytest.raises(ModelError, match="two thing entries are called a"):
        registry.register("a")(lambda: 2)

    assert registry.make("a") == 1


def test_every_card_is_made_and_carries_its_own_name():
    assert len(CARDS) >= 1
    for name in CARDS:
        assert CARDS.make(name).name == name
        assert CARDS.make(name).licence


@pytest.mark.parametrize("mpp", [0.4, 0.6, 0.25, 1.0])
def test_pixels_of_another_scale_are_refused(mpp):
    with pytest.raises(WrongInput, match=f"takes 0.5 to 0.5 µm/px, got {mpp:g}"):
        card().check_input(task="nuclei", mpp=mpp)


def test_the_stated_scale_is_accepted_within_a_thousandth():
    card().check_input(task="nuclei", mpp=0.5)
    card().check_input(task="nuclei", mpp=0.5003)


def test_another_task_is_refused():
    with pytest.raises(WrongInput, match="predicts nuclei, not compartments"):
        card().check_input(task="compartments", mpp=0.5)


def test_a_weights_file_must_be_the_one_of_the_card(tmp_path):
    weights = tmp_path / "net.onnx"
    weights.write_bytes(b"weights")
    right = card(sha256=hashlib.sha256(b"weights").hexdigest())

    right.check_file(weights)
    weights.write_bytes(b"other")

    with pytest.raises(ModelError, match="sha256"):
        right.check_file(weights)
    with pytest.raises(WeightsUnavailable):
        right.check_file(tmp_path / "absent.onnx")
    with pytest.raises(ModelError, match="has no weights"):
        card().check_file(weights)


def test_provenance_names_versions_and_no_person_or_place():
    found = provenance.collect()

    assert found["packages"]["numpy"]
    assert found["machine"]["cores"] >= 1
    said = str(found)
    assert "/" not in said.replace("and/or", "")
    import getpass
    import socket

    assert getpass.getuser() not in said or getpass.getuser() in {"root", "user"}
    assert socket.gethostname() not in said
