"""Pictures in a branch: what is read, what is not, and that the small network learns from them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the fusion model needs the extra learn")

from torch import Tensor  # noqa: E402 - after the check that torch is there

from herscope.core.errors import (  # noqa: E402
    DependencyMissing,
    InputError,
    ModelError,
    SchemaError,
)
from herscope.respond.fusion.batch import collate  # noqa: E402
from herscope.respond.fusion.fusion_spec import picture_features  # noqa: E402
from herscope.respond.fusion.loss_spec import LossSpec  # noqa: E402
from herscope.respond.fusion.losses import fusion_loss  # noqa: E402
from herscope.respond.fusion.network import FusionNetwork, FusionSpec  # noqa: E402
from herscope.respond.fusion.patients import Branch, Layout, Patient, no_tokens  # noqa: E402
from herscope.respond.fusion.picture_network import PictureNetwork, _torchvision  # noqa: E402
from herscope.respond.fusion.synthetic import (  # noqa: E402
    Case,
    SyntheticSpec,
    synthetic_case,
    synthetic_layout,
)
from herscope.stats.classification.delong import auc  # noqa: E402

EDGE = 32
SMALL = {"width": 12, "common": 16, "hidden": 8}
LAYOUT = synthetic_layout(EDGE)
WEIGHTS = LossSpec(gamma=0.0, survival=0.2, alignment=0.1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(layout: Layout = LAYOUT, **options: object) -> FusionNetwork:
    torch.manual_seed(0)
    return FusionNetwork(layout, FusionSpec.model_validate({**SMALL, **options})).eval()


def cases(n: int, seed: int = 5, **options: object) -> list[Case]:
    spec = SyntheticSpec.model_validate(
        {"signal": "radiology", "picture_px": EDGE, "seed": seed, **options}
    )
    return [synthetic_case(spec, number) for number in range(n)]


def logits(model: FusionNetwork, patients: list[Patient]) -> Tensor:
    with torch.inference_mode():
        return model(collate(patients, model.layout))


# ---- what is read --------------------------------------------------------------------------------


def test_pictures_of_patients_with_different_numbers_of_lesions_stay_their_own() -> None:
    model = network()
    patients = [case.patient for case in cases(6, missing=0.3)]

    together = logits(model, patients)

    alone = torch.cat([logits(model, [one]) for one in patients])
    assert together == pytest.approx(alone, abs=1e-5)


def test_only_lesions_that_are_there_go_through_the_picture_network() -> None:
    model = network()
    patients = [case.patient for case in cases(5)]
    lesions = sum(len(p.branches["radiology"].instances) for p in patients)
    seen: list[int] = []
    reader = model.modalities["radiology"].picture_network
    reader.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))

    logits(model, patients)
    logits(model, [p.without("radiology-images") for p in patients])

    batch = collate(patients, LAYOUT).branches["radiology"]
    assert batch.pictures.shape[:2].numel() > lesions  # there is padding
    assert seen == [lesions]


def test_a_changed_pixel_changes_the_logits_and_has_a_gradient() -> None:
    model = network()
    patient = cases(1)[0].patient
    batch = collate([patient], LAYOUT)
    branch = batch.branches["radiology"]
    pictures = branch.pictures.clone().requires_grad_()
    batch.branches["radiology"] = dataclasses.replace(branch, pictures=pictures)

    model(batch)[0, 1].backward()

    assert (pictures.grad.abs().amax(dim=(2, 3, 4)) > 0).all()


def test_maps_and_pool_are_what_forward_gives_and_belong_to_one_picture_each() -> None:
    reader = PictureNetwork("small").eval()
    x = torch.rand(3, 3, 112, 112)
    with torch.inference_mode():
        maps = reader.maps(x)
        assert maps.shape == (3, reader.features, 14, 14)
        assert torch.equal(reader.pool(maps), reader(x))
        assert reader(x)[1] == pytest.approx(reader(x[1:2])[0], abs=1e-5)
        assert torch.equal(reader.train()(x), reader.eval()(x))


def test_the_small_network_is_small() -> None:
    count = sum(p.numel() for p in PictureNetwork("small").parameters())
    assert 100_000 < count < 300_000


def test_a_batch_with_pictures_goes_to_a_device_whole() -> None:
    batch = collate([case.patient for case in cases(2)], LAYOUT).to(torch.device("meta"))
    branch = batch.branches["radiology"]
    assert branch.pictures.device.type == branch.words.device.type == "meta"
    assert batch.branches["pathology"].pictures is None


# ---- parts without one another -------------------------------------------------------------------


def test_radiomics_without_pictures_count_and_make_the_modality_known() -> None:
    model = network()
    whole = cases(1)[0].patient
    only = whole.without("radiology-images", "radiology-report")
    none = whole.without("radiology")

    assert only.parts.count("radiology-radiomics") == 1
    assert collate([only, none], LAYOUT).branches["radiology"].known.tolist() == [True, False]
    assert not torch.allclose(logits(model, [only]), logits(model, [none]))


def test_rows_of_radiomics_need_not_be_as_many_as_the_lesions_of_another_patient() -> None:
    model = network()
    first, second = (case.patient for case in cases(2))
    rows = np.ones((9, LAYOUT.branches["radiology"].omics), np.float32)
    report = first.branches["radiology"].report
    many = Patient("m", {"radiology": Branch(None, report, rows)}, first.tokens)

    together = logits(model, [many, second])

    assert together == pytest.approx(
        torch.cat([logits(model, [many]), logits(model, [second])]), abs=1e-5
    )


def test_a_word_that_is_not_there_counts_nothing_whatever_stands_in_its_place() -> None:
    model = network()
    one = cases(1)[0].patient
    old = one.branches["pathology"]
    words = np.repeat(old.instances[:, None], 3, axis=1)
    there = np.ones(words.shape[:2], np.bool_)
    there[0, 2] = False
    other = words.copy()
    other[0, 2] = 7.0

    found = [
        logits(
            model,
            [
                Patient(
                    "w",
                    {"pathology": Branch(each, old.report, old.omics, word_there=flags)},
                    one.tokens,
                )
            ],
        )
        for each, flags in ((words, there), (other, there), (other, None))
    ]

    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


# ---- what is refused -----------------------------------------------------------------------------


def test_vectors_where_pictures_are_expected_are_refused() -> None:
    vectors = synthetic_case(SyntheticSpec(seed=5), 0).patient
    with pytest.raises(SchemaError, match="radiology: features 16, the model takes 96"):
        collate([vectors], LAYOUT)
    with pytest.raises(SchemaError, match="edge of pictures 32, the model takes 0"):
        collate([cases(1)[0].patient], synthetic_layout())


def test_a_layout_of_another_picture_network_is_refused() -> None:
    with pytest.raises(SchemaError, match="makes 96 numbers of a picture, the layout says 1280"):
        network(synthetic_layout(EDGE, "mnasnet"))


def test_an_unknown_picture_network_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no picture network 'mnasnett'") as caught:
        picture_features("mnasnett")
    assert "did you mean mnasnet?" in caught.value.hint


def test_the_small_network_takes_no_weights() -> None:
    with pytest.raises(ValueError, match="takes no weights"):
        FusionSpec(picture_weights="some.safetensors")


def test_mnasnet_without_torchvision_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DependencyMissing, match="needs torchvision") as caught:
        PictureNetwork("mnasnet", "some.safetensors")
    assert "herscope[foundation]" in caught.value.hint


def test_the_layout_and_the_choices_need_no_torch() -> None:
    code = (
        "import sys, herscope.respond.fusion.fusion_spec, herscope.respond.fusion.patients;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- MnasNet -------------------------------------------------------------------------------------


@pytest.fixture
def mnasnet_file(tmp_path: Path) -> Path:
    try:
        torchvision = _torchvision()
    except DependencyMissing:
        pytest.skip("mnasnet needs the extra foundation")
    save = pytest.importorskip("safetensors.torch").save_file
    torch.manual_seed(3)
    file = tmp_path / "mnasnet.safetensors"
    save(torchvision.models.mnasnet1_0(weights=None).state_dict(), file)
    return file


def test_mnasnet_reads_its_file_and_gives_what_torchvision_gives(mnasnet_file: Path) -> None:
    reader = PictureNetwork("mnasnet", str(mnasnet_file)).train()
    torch.manual_seed(3)
    reference = sys.modules["torchvision"].models.mnasnet1_0(weights=None).eval()
    x = torch.rand(2, 3, 64, 64)
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    with torch.inference_mode():
        expected = reference.layers((x - mean[:, None, None]) / spread[:, None, None])
        assert reader.maps(x) == pytest.approx(expected, abs=1e-5)
        assert reader(x).shape == (2, picture_features("mnasnet"))


def test_mnasnet_needs_weights_that_are_there_and_its_own(
    mnasnet_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="without picture_weights"):
        PictureNetwork("mnasnet")
    with pytest.raises(ModelError, match="there are no weights at"):
        PictureNetwork("mnasnet", str(tmp_path / "absent.safetensors"))
    other = tmp_path / "other.pth"
    torch.save({"layers.0.weight": torch.zeros(2)}, other)
    with pytest.raises(ModelError, match="lacks"):
        PictureNetwork("mnasnet", str(other))
    mnasnet_file.unlink()
    again = PictureNetwork("mnasnet", str(mnasnet_file), pretrained=False)
    assert again.features == 1280


# ---- learning ------------------------------------------------------------------------------------


def test_drawn_lesions_tell_by_their_grain_and_not_by_their_grey() -> None:
    found = []
    for case in cases(120, strength=3.0):
        pictures = case.patient.branches["radiology"].instances
        steps = np.abs(np.diff(pictures[:, :, 12:20, 12:20], axis=3)).mean()
        found.append((case.label, float(steps), float(pictures.mean())))
    labels, steps, greys = (np.array(column) for column in zip(*found, strict=True))
    assert auc(labels == 0, steps).value > 0.95  # fine grain without a response
    assert 0.35 < auc(labels == 1, greys).value < 0.65


@pytest.mark.slow
def test_the_small_network_learns_what_the_pictures_show() -> None:
    drawn = cases(260, seed=8, strength=3.0)
    trained, tested = drawn[:160], drawn[160:]
    model = network(width=24, common=32, hidden=32).train()
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(14):
        for part in np.array_split(rng.permutation(len(trained)), 10):
            some = [trained[i] for i in part]
            batch = collate([case.patient for case in some], LAYOUT)
            target = torch.tensor([[c.label, c.days, c.event] for c in some])
            loss = fusion_loss(
                model.branches(batch), target, WEIGHTS, kinds=_kinds(batch), progress=0.0
            )
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
    model.eval()
    truth = [case.label == 1 for case in tested]
    scores = logits(model, [case.patient for case in tested]).softmax(dim=1)[:, 1]
    without = [case.patient.without("radiology-images") for case in tested]
    blind = logits(model, without).softmax(dim=1)[:, 1]

    assert auc(truth, scores.numpy().astype(float)).value > 0.85
    assert auc(truth, blind.numpy().astype(float)).value < 0.7


def _kinds(batch: object) -> dict[str, Tensor]:
    return {name: one.kinds for name, one in batch.branches.items()}


def test_a_patient_without_anything_but_pictures_is_read() -> None:
    model = network()
    pictures = cases(1)[0].patient.branches["radiology"].instances
    bare = Branch(pictures, no_tokens(LAYOUT.branches["radiology"].report))
    patient = Patient("p", {"radiology": bare}, no_tokens(LAYOUT.tokens))
    assert torch.isfinite(logits(model, [patient])).all()
