"""Training of response: folds without leaks, scales of training patients, batches, model files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="models of response need torch")

from herscope.core.errors import (  # noqa: E402 - after the check for torch
    InputError,
    ModelError,
    SchemaError,
    StaleResult,
    WeightsUnavailable,
    WrongInput,
)
from herscope.nn.fit import FitSpec, fit  # noqa: E402
from herscope.respond.cohort.baselines import BaselineSpec, repeated_folds  # noqa: E402
from herscope.respond.fusion.fusion_spec import FusionSpec  # noqa: E402
from herscope.respond.fusion.network import FusionNetwork  # noqa: E402
from herscope.respond.fusion.patients import (  # noqa: E402
    PARTS,
    Branch,
    BranchLayout,
    Layout,
    Patient,
    TokenRow,
)
from herscope.respond.pathology.bags import PathologyBags  # noqa: E402
from herscope.respond.radiology.windows import WindowTable  # noqa: E402
from herscope.respond.training.batches import PatientBatches  # noqa: E402
from herscope.respond.training.card import (  # noqa: E402
    FILE,
    BranchNote,
    ResponseCard,
    TokenNote,
    known_as,
)
from herscope.respond.training.ensemble import (  # noqa: E402
    LoadedMember,
    read_model,
    write_card,
    write_member,
)
from herscope.respond.training.member import Side, Trained, train_member  # noqa: E402
from herscope.respond.training.picture_variation import vary  # noqa: E402
from herscope.respond.training.plan import Who, plan_folds  # noqa: E402
from herscope.respond.training.raw import RawPatient  # noqa: E402
from herscope.respond.training.scaling import FAR, Scaling, fit_scale, fit_scaling  # noqa: E402
from herscope.respond.training.spec import RespondSpec  # noqa: E402

SMALL = FusionSpec(width=8, common=8, hidden=8, dropout=0.0)
SIZES = (2, 3)


# --- who trains, who is tested -------------------------------------------------------------------


def people(count: int = 60, *, without: int = 7, sites: int = 6) -> list[Who]:
    """Patients with labels in turn, and some without."""
    told = [Who(f"p{i:03d}", i % 2, f"s{i % sites}") for i in range(count)]
    return [*told, *(Who(f"q{i}", -1, f"s{i % sites}") for i in range(without))]


def test_nobody_is_tested_by_a_member_that_trained_on_or_was_stopped_by_them():
    who = people()

    plan = plan_folds(who, RespondSpec(folds=4, repeats=3))

    assert len(plan.parts) == 12
    for part in plan.parts:
        sides = [set(part.train), set(part.validation), set(part.test)]
        assert sum(map(len, sides)) == len(set().union(*sides)) == len(who)
        assert all({who[i].label for i in side} >= {0, 1} for side in sides)


def test_every_patient_is_tested_once_a_repeat_by_who_has_not_seen_them():
    who = people()

    plan = plan_folds(who, RespondSpec(folds=4, repeats=3))

    for repeat in (1, 2, 3):
        tested = [i for part in plan.parts if part.repeat == repeat for i in part.test]
        assert sorted(tested) == list(range(67))
    unlabelled = set(range(60, 67))
    for part in plan.parts:
        assert not set(part.test) & {*part.train, *part.validation}
        assert not unlabelled & set(part.validation)
        assert unlabelled - set(part.test) <= set(part.train)


def test_the_folds_are_those_of_the_plain_models():
    who = people(without=0)
    spec = RespondSpec(folds=3, repeats=2, seed=11)

    plan = plan_folds(who, spec)

    names, labels = [one.name for one in who], np.array([one.label for one in who])
    theirs = repeated_folds(names, labels, BaselineSpec(folds=3, repeats=2, seed=11))
    mine = [{who[i].name for i in part.test} for part in plan.parts]
    assert mine == [set(fold.test) for folds in theirs for fold in folds]


def test_repeats_and_seeds_divide_otherwise_and_the_same_seed_the_same():
    who = people()
    spec = RespondSpec(folds=4, repeats=2)

    plan = plan_folds(who, spec)

    assert plan == plan_folds(who, spec)
    assert plan.parts[0].test != plan.parts[4].test
    assert (
        plan.parts[0].test != plan_folds(who, RespondSpec(folds=4, repeats=2, seed=1)).parts[0].test
    )


def test_a_split_column_sets_the_test_side_apart_from_every_member():
    who = [replace(one, split="test" if i % 5 < 2 else "train") for i, one in enumerate(people())]

    plan = plan_folds(who, RespondSpec(folds=3))

    assert plan.evaluation == "held-out test"
    assert (len(plan.parts), plan.folds) == (3, ())
    apart = {i for i, one in enumerate(who) if one.split == "test"}
    for part in plan.parts:
        assert set(part.test) == apart
        assert not apart & {*part.train, *part.validation}
    stopped = [i for part in plan.parts for i in part.validation]
    assert len(stopped) == len(set(stopped)) == 60 - sum(who[i].label >= 0 for i in plan.tested)


def test_a_share_of_both_classes_is_held_out():
    who = people()

    plan = plan_folds(who, RespondSpec(folds=3, test_share=0.3))

    assert len(plan.tested) == 18
    assert sum(who[i].label for i in plan.tested) == 9
    assert all(not set(part.test) & {*part.train, *part.validation} for part in plan.parts)


def test_folds_by_site_test_no_site_that_trained():
    who = people(without=0)

    plan = plan_folds(who, RespondSpec(folds=3, folds_by="site", repeats=1))

    for part in plan.parts:
        tested = {who[i].site for i in part.test}
        assert not tested & {who[i].site for i in (*part.train, *part.validation)}


@pytest.mark.parametrize(
    ("who", "spec", "said"),
    [
        (people(4), RespondSpec(), "2 patients with a response: the 5 folds that stop or test"),
        (
            [replace(one, label=1) for one in people(without=0)],
            RespondSpec(),
            "0 patients with no response",
        ),
        (
            [replace(one, site=None) for one in people()],
            RespondSpec(folds_by="site"),
            "60 patients have no site",
        ),
        (
            [replace(one, split="test" if i < 9 else None) for i, one in enumerate(people())],
            RespondSpec(test_share=0.2),
            "already sets 9 patients apart",
        ),
        (
            [replace(one, split="test" if one.label == 1 and i < 20 else "train")
             for i, one in enumerate(people())],
            RespondSpec(),
            "none of the 10 patients of the test side has no response",
        ),
        (
            [replace(one, split="test" if i < 52 else "train") for i, one in enumerate(people())],
            RespondSpec(),
            "beside the test side there are 4 patients with a response",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_divided_is_refused_with_numbers(who, spec, said):
    with pytest.raises(InputError) as refused:
        plan_folds(who, spec)

    assert said in refused.value.message
    assert refused.value.hint


# --- scales --------------------------------------------------------------------------------------


def test_a_scale_takes_mean_and_sd_of_what_is_known():
    rows = [np.array([[1.0, np.nan], [3.0, 4.0]], np.float32), np.array([[5.0, 8.0]], np.float32)]

    scale = fit_scale(lambda: rows, 2)

    assert scale.mean.tolist() == [3.0, 6.0]
    assert scale.factor == pytest.approx([1 / np.std([1, 3, 5]), 0.5])
    assert scale(np.array([[3.0, np.nan]], np.float32)).tolist() == [[0.0, 0.0]]


def test_a_column_that_never_varies_or_nobody_has_becomes_zero():
    rows = [np.array([[0.1, np.nan, 7.0]] * 9, np.float32)]

    scale = fit_scale(lambda: rows, 3)

    far = np.array([[5.0, 5.0, np.inf], [np.nan, -1e9, 7.0]], np.float32)
    assert scale(far).tolist() == [[0.0] * 3] * 2


def test_a_small_column_varies_as_much_as_a_large_one():
    wave = np.sin(np.arange(50, dtype=np.float32))[:, None]

    scale = fit_scale(lambda: [np.concatenate([wave, wave * np.float32(1e-9)], axis=1)], 2)

    made = scale(np.concatenate([wave, wave * np.float32(1e-9)], axis=1))
    assert made[:, 1] == pytest.approx(made[:, 0], abs=1e-5)
    assert made.std(axis=0) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_what_lies_far_out_is_put_at_the_limit():
    scale = fit_scale(lambda: [np.array([[0.0], [2.0]], np.float32)], 1)

    assert scale(np.array([[1e6], [-1e6], [3.0]], np.float32)).tolist() == [[FAR], [-FAR], [2.0]]


def tokens(seed: int, *, there: bool = True) -> TokenRow:
    rng = np.random.default_rng(seed)
    values = np.zeros(sum(SIZES), np.float32)
    if there:
        values[[int(rng.integers(2)), 2 + int(rng.integers(3))]] = 1.0
    return TokenRow(values, np.full(len(SIZES), there), SIZES)


def bags_of(seed: int, *, bags: int = 3, shift: float = 0.0) -> PathologyBags:
    rng = np.random.default_rng(seed)
    there = np.ones((bags, 2), np.bool_)
    there[0, 1] = False
    words = (rng.normal(shift, 1, (bags, 2, 4)) * there[..., None]).astype(np.float32)
    omics = rng.normal(shift, 2, (bags, 3)).astype(np.float32)
    omics[0, 0] = np.nan
    return PathologyBags(
        words, there, np.zeros((bags, 2), np.int64), np.full(bags, 448.0),
        np.zeros(bags, np.int64), (f"slide{seed}",), (None,), omics, ("a", "b", "c"),
        "toy", "toy:4",
    )  # fmt: skip


def raw(seed: int, *, slide: bool = True, report: bool = True, shift: float = 0.0) -> RawPatient:
    return RawPatient(
        f"p{seed}",
        "here",
        bags_of(seed, shift=shift) if slide else None,
        None,
        {name: tokens(seed, there=report) for name in ("pathology", "radiology")},
        tokens(seed + 1000),
        {"pathology": 1, "radiology": None},
    )


LAYOUT = Layout(
    {
        "pathology": BranchLayout(4, 3, SIZES),
        "radiology": BranchLayout(1, 0, SIZES),
    },
    SIZES,
)


def test_scales_know_the_training_patients_and_no_absent_word():
    training = [raw(i) for i in range(5)]

    scaling = fit_scaling(training)

    words = np.concatenate([one.pathology.words[one.pathology.word_there] for one in training])
    assert scaling.scales["pathology-images"].mean == pytest.approx(words.mean(axis=0), abs=1e-6)
    shown = scaling.patient(raw(77, shift=50.0)).branches["pathology"]
    assert shown.instances[shown.word_there].mean() > 5
    assert not shown.instances[~shown.word_there].any()
    assert shown.omics[0, 0] == 0.0


def test_bags_that_no_training_patient_had_leave_the_report():
    scaling = fit_scaling([raw(i, slide=False) for i in range(3)])

    assert scaling.patient(raw(9)).parts == ("pathology-report", "radiology-report", "patient")
    assert "pathology" not in scaling.patient(raw(9, report=False)).branches


def test_what_is_hidden_of_a_patient_reaches_no_network():
    scaling = fit_scaling([raw(i) for i in range(3)])

    for part in raw(9).parts:
        hidden = raw(9).without(part)
        assert part not in hidden.parts
        assert scaling.patient(hidden).parts == hidden.parts
    only = scaling.patient(raw(9).without("pathology-images", "pathology-report"))
    assert only.branches["pathology"].omics is not None
    assert only.branches["pathology"].instances is None


# --- batches -------------------------------------------------------------------------------------


def scaled(count: int) -> list[Patient]:
    found = [raw(i) for i in range(count)]
    scaling = fit_scaling(found)
    return [scaling.patient(one) for one in found]


def outcome_of(count: int) -> np.ndarray:
    made = np.zeros((count, 3), np.float32)
    made[:, 0], made[:, 1], made[:, 2] = np.arange(count) % 2, np.arange(count) + 10, 1
    return made


def batches_of(spec: RespondSpec, count: int = 20, seed: int = 3) -> PatientBatches:
    return PatientBatches(scaled(count), outcome_of(count), LAYOUT, spec, seed)


def flat(batch: Any) -> bytes:
    inputs, target = batch
    one = inputs.branches["pathology"]
    parts = (one.words, one.there, one.omics, one.report, inputs.tokens, target.outcome)
    return b"".join(part.numpy().tobytes() for part in parts)


def test_an_epoch_is_the_same_whatever_came_before():
    spec = RespondSpec(batch=7, bags=2)
    straight, again = batches_of(spec), batches_of(spec)
    list(straight.epoch(0))

    first = [flat(batch) for batch in straight.epoch(4)]

    assert first == [flat(batch) for batch in again.epoch(4)]
    assert first != [flat(batch) for batch in again.epoch(5)]
    assert first != [flat(batch) for batch in batches_of(spec, seed=4).epoch(4)]


def test_every_patient_comes_once_an_epoch_in_batches_of_nearly_one_size():
    found = list(batches_of(RespondSpec(batch=7)).epoch(0))

    days = torch.cat([target.outcome[:, 1] for _, target in found])
    assert sorted(days.tolist()) == list(np.arange(20) + 10.0)
    assert [len(inputs) for inputs, _ in found] == [7, 7, 6]


def test_somebody_is_now_and_then_shown_with_nothing():
    batches = batches_of(RespondSpec(drop_modality=0.95, drop_part=0.95))

    shown = [batches.shown(place, epoch) for place in range(20) for epoch in range(20)]

    assert any(not one.parts for one in shown)
    assert any(len(one.parts) == 1 for one in shown)


def test_what_is_hidden_does_not_hang_on_how_pictures_are_varied():
    ways = (RespondSpec(vary_pictures=False, bags=2), RespondSpec(vary_pictures=True, bags=16))
    one, two = (batches_of(spec) for spec in ways)

    assert all(one.shown(i, e).parts == two.shown(i, e).parts for i in range(20) for e in range(5))


def test_parts_are_hidden_as_often_as_was_asked():
    batches = batches_of(RespondSpec(drop_modality=0.2, drop_part=0.1))

    shown = [batches.shown(place, epoch).parts for place in range(20) for epoch in range(150)]

    counts = {part: np.mean([part in parts for parts in shown]) for part in PARTS}
    assert counts["pathology-images"] == pytest.approx(0.8 * 0.9, abs=0.03)
    assert counts["radiology-report"] == pytest.approx(0.8 * 0.9, abs=0.03)
    assert counts["patient"] == pytest.approx(0.9, abs=0.03)


def test_without_hiding_everything_is_shown():
    batches = batches_of(RespondSpec(drop_modality=0.0, drop_part=0.0, bags=0))

    one = batches.shown(3, 8)

    assert one.parts == batches.patients[3].parts
    assert np.array_equal(
        one.branches["pathology"].instances, batches.patients[3].branches["pathology"].instances
    )


def test_drawn_bags_keep_their_radiomics_and_kinds():
    numbers = np.arange(12, dtype=np.float32)
    branch = Branch(
        np.repeat(numbers[:, None], 4, axis=1), tokens(0), np.repeat(numbers[:, None], 3, axis=1),
        None, numbers.astype(np.int64),
    )  # fmt: skip
    one = Patient("p", {"pathology": branch}, tokens(0))
    spec = RespondSpec(bags=5, drop_modality=0.0, drop_part=0.0)
    batches = PatientBatches([one], outcome_of(1), LAYOUT, spec, 0)

    drawn = [batches.shown(0, epoch).branches["pathology"] for epoch in range(30)]

    for shown in drawn:
        assert len(set(shown.instances[:, 0].tolist())) == 5
        assert shown.instances[:, 0].tolist() == shown.omics[:, 0].tolist() == shown.kinds.tolist()
    assert {int(kind) for shown in drawn for kind in shown.kinds} == set(range(12))


# --- pictures ------------------------------------------------------------------------------------


def test_the_three_slices_of_a_lesion_move_together_and_lesions_apart():
    rng = np.random.default_rng(0)
    slice_ = rng.uniform(size=(32, 32)).astype(np.float32)
    pictures = np.broadcast_to(slice_, (6, 3, 32, 32)).copy()

    shown = vary(pictures, np.random.default_rng(1))

    assert (shown == shown[:, :1]).all()
    assert len({one.tobytes() for one in shown}) > 1
    assert 0.0 <= shown.min() <= shown.max() <= 1.0
    assert np.array_equal(shown, vary(pictures, np.random.default_rng(1)))


def test_half_of_the_pictures_are_mirrored_and_a_crop_never_loses_the_middle():
    pictures = np.zeros((400, 3, 33, 33), np.float32)
    pictures[:, :, 14:19, 14:25] = 1.0  # reaches further to the right

    shown = vary(pictures, np.random.default_rng(2))

    assert (shown[:, :, 12:21, 12:21].max(axis=(1, 2, 3)) > 0.9).all()
    x = (shown[:, 0].sum(axis=1) * np.arange(33)).sum(axis=1) / shown[:, 0].sum(axis=(1, 2))
    assert 0.4 < np.mean(x < 16) < 0.6


# --- files ---------------------------------------------------------------------------------------


def member(seed: int = 0) -> LoadedMember:
    torch.manual_seed(seed)
    network = FusionNetwork(LAYOUT, SMALL).eval()
    return LoadedMember(network, fit_scaling([raw(i) for i in range(5)]), 0.41, LAYOUT)


def write(folder: Path, one: LoadedMember) -> Path:
    result = fit_result()
    trained = Trained(one.network, (1.5,), one.cut, result, "loss", 0.7)
    note = write_member(
        folder, "repeat1-fold1-seed0", trained, one.scaling,
        repeat=1, fold=1, seed=0, seen=tuple(sorted(known_as(p, "here") for p in ("p1", "p2"))),
    )  # fmt: skip
    names = tuple(TokenNote(name=f"t{n}", categories=("a", "b", "c")[:n]) for n in SIZES)
    card = ResponseCard(
        name="toy",
        network=SMALL.model_dump(mode="json"),
        loss={},
        training={},
        preparation={},
        branches={
            name: BranchNote(
                features=of.features, omics=of.omics, report=of.report, kinds=of.kinds,
                picture=of.picture,
            )
            for name, of in LAYOUT.branches.items()
        },
        tokens=dict.fromkeys(("pathology", "radiology", "patient"), names),
        encoder="toy",
        encoder_id="toy:4",
        omics_names={"pathology": ("a", "b", "c"), "radiology": ()},
        cut_days=180,
        parts=raw(0).parts,
        members=(note,),
        cohort_key="0" * 16,
        names=(),
        licence="LicenseRef-private",
    )  # fmt: skip
    write_card(folder, card)
    return folder


def fit_result() -> Any:
    from herscope.nn.fit import FitResult

    return FitResult(({"epoch": 1, "loss": 1.0},), 1, 1.0, False, 0, "cpu", (1,))


def test_a_model_that_is_read_again_says_the_same_to_the_bit(tmp_path):
    mine = member()
    asked = [raw(i, shift=i / 3) for i in range(6)]

    read = read_model(write(tmp_path, mine)).members()[0]

    assert read.responses(asked).tolist() == mine.responses(asked).tolist()
    assert len(set(read.responses(asked).tolist())) == 6
    assert (read.cut, read.layout) == (0.41, LAYOUT)


def test_an_answer_does_not_depend_on_the_company_a_patient_is_in(tmp_path):
    read = read_model(write(tmp_path, member())).members()[0]
    asked = [replace(raw(i), pathology=bags_of(i, bags=i + 1)) for i in range(9)]

    together = read.responses(asked).tolist()

    assert together == [read.responses([one]).tolist()[0] for one in asked]
    assert read.responses([]).tolist() == []


def test_names_of_patients_are_not_in_the_folder(tmp_path):
    card = read_model(write(tmp_path, member())).card

    assert known_as("p1", "here") in card.members[0].seen
    assert known_as("p1", "elsewhere") not in card.members[0].seen
    assert '"p1"' not in (tmp_path / FILE).read_text()


@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_damaged_member_is_refused_by_its_file(tmp_path, how):
    write(tmp_path, member())
    file = next((tmp_path / "members").iterdir())
    data = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-7] if how == "cut" else data[:-1] + bytes([data[-1] ^ 1]))

    with pytest.raises((ModelError, WeightsUnavailable)) as refused:
        read_model(tmp_path).members()

    assert file.name in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "herscope.respond-model/9"},
        {"members": []},
        {"cut_days": -3},
        {"surprise": 1},
        {"network": {"width": "wide"}},
        {"branches": {"pathology": {"features": 0}}},
    ],
)
def test_a_card_of_another_form_is_refused(tmp_path, change):
    write(tmp_path, member())
    file = tmp_path / FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))

    with pytest.raises(SchemaError) as refused:
        read_model(tmp_path)

    assert str(file) in refused.value.message


def test_a_card_that_is_cut_off_or_absent_is_refused(tmp_path):
    with pytest.raises(WeightsUnavailable, match="is no model of response"):
        read_model(tmp_path)
    file = write(tmp_path, member()) / FILE
    file.write_text(file.read_text()[:-40])

    with pytest.raises(SchemaError):
        read_model(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    write(tmp_path, member())
    file = tmp_path / FILE
    card = json.loads(file.read_text())
    card["network"]["width"] = 16
    file.write_text(json.dumps(card))

    with pytest.raises(ModelError, match="does not fit its card"):
        read_model(tmp_path).members()


def test_features_of_another_encoder_are_refused_and_not_where_they_are_hidden(tmp_path):
    model = read_model(write(tmp_path, member()))
    odd = replace(raw(1), pathology=replace(bags_of(1), encoder="other", encoder_id="other:4"))

    with pytest.raises(WrongInput) as refused:
        model.check(odd)

    assert "p1" in refused.value.message
    assert "other:4" in refused.value.message
    assert "toy:4" in refused.value.message
    model.check(odd.without("pathology-images"))
    model.check(raw(1))


def test_other_radiomics_are_refused(tmp_path):
    model = read_model(write(tmp_path, member()))
    odd = replace(raw(1), pathology=replace(bags_of(1), omics_names=("a", "b", "z")))

    with pytest.raises(WrongInput, match="other radiomics of pathology"):
        model.check(odd)
    model.check(odd.without("pathology-radiomics"))


# --- weights of the best epochs ------------------------------------------------------------------


class Steps:
    """One batch an epoch; the network moves a little each time."""

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int) -> Any:
        torch.manual_seed(number)
        yield torch.randn(8, 3), torch.randn(8, 1)


class Stopped(Exception):
    """As if the process had been killed."""


LOSSES = (5.0, 2.0, 4.0, 1.0, 3.0, 2.0)


def trained(folder: Path, *, average: int, stop: int = 0, resume: bool = False) -> Any:
    """Train six epochs whose validation losses are given; weights of each are seen."""
    torch.manual_seed(0)
    module = torch.nn.Linear(3, 1)
    seen: list[dict[str, Any]] = []
    start = json.loads((folder / "state.json").read_text())["epoch"] if resume else 0

    def validate(network: Any, _device: Any) -> dict[str, float]:
        seen.append({name: t.clone() for name, t in network.state_dict().items()})
        return {"loss": LOSSES[start + len(seen) - 1]}

    class Progress:
        def epoch(self, row: dict[str, Any], best: int) -> None:
            assert best > 0
            if row["epoch"] == stop:
                raise Stopped

    spec = FitSpec(epochs=6, patience=6, average=average, learning_rate=0.1, device="cpu")
    result = fit(
        module, Steps(), validate, torch.nn.functional.mse_loss, spec, folder,
        progress=Progress(), resume=resume,
    )  # fmt: skip
    return module.state_dict(), result, seen


def test_the_weights_are_the_mean_of_the_best_epochs(tmp_path):
    weights, result, seen = trained(tmp_path, average=3)

    assert result.averaged == (4, 2, 6)  # of equal losses the earlier is better
    for name, tensor in weights.items():
        mean = torch.stack([seen[epoch - 1][name] for epoch in (4, 2, 6)]).double().mean(dim=0)
        assert torch.equal(tensor, mean.float())
        assert not torch.equal(tensor, seen[3][name])


def test_one_epoch_is_its_own_mean(tmp_path):
    weights, result, seen = trained(tmp_path, average=1)

    assert (result.averaged, result.best_epoch) == ((4,), 4)
    assert all(torch.equal(tensor, seen[3][name]) for name, tensor in weights.items())
    assert len(list(tmp_path.glob("best-*"))) == 1


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_resumed_training_averages_to_the_same_bits(tmp_path, stop):
    straight, result, _ = trained(tmp_path / "a", average=3)
    with pytest.raises(Stopped):
        trained(tmp_path / "b", average=3, stop=stop)

    resumed, again, _ = trained(tmp_path / "b", average=3, resume=True)

    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert (again.averaged, again.resumed_after) == (result.averaged, stop)


def test_only_the_files_of_the_best_and_the_last_epoch_are_kept(tmp_path):
    trained(tmp_path, average=3)

    names = sorted(file.name for file in tmp_path.glob("*.safetensors"))
    assert names == [f"best-{n:04d}.safetensors" for n in (2, 4, 6)] + ["epoch-0006.safetensors"]


# --- one member ----------------------------------------------------------------------------------


def train(folder: Path, **options: Any) -> Trained:
    shown = scaled(24)
    spec = RespondSpec(epochs=3, batch=8, average=2, device="cpu")
    sides = [Side(shown[:16], outcome_of(24)[:16]), Side(shown[16:], outcome_of(24)[16:])]
    spec = options.pop("spec", spec)
    from herscope.respond.fusion.loss_spec import LossSpec

    return train_member(LAYOUT, SMALL, LossSpec(), spec, *sides, folder, seed=5, **options)


def test_a_member_is_the_same_for_the_same_seed(tmp_path):
    one, two = train(tmp_path / "a"), train(tmp_path / "b")

    first, second = one.network.state_dict(), two.network.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (one.cut, one.temperatures) == (two.cut, two.temperatures)
    assert len(one.result.averaged) == 2


def test_validation_patients_without_a_label_calibrate_nothing():
    shown, outcome = scaled(26), outcome_of(26)
    outcome[24:, 0] = -1
    side = Side(shown[16:], outcome[16:])

    held, labels = side.labelled

    assert [one.name for one in held] == [f"p{i}" for i in range(16, 24)]
    assert set(labels.tolist()) == {0, 1}


def test_resuming_with_another_training_is_refused(tmp_path):
    train(tmp_path)

    with pytest.raises(StaleResult, match="learning_rate was"):
        train(
            tmp_path,
            resume=True,
            spec=RespondSpec(epochs=3, batch=8, average=2, device="cpu", learning_rate=0.01),
        )


def test_a_scaling_without_anything_leaves_reports_and_patient():
    assert Scaling({}, WindowTable()).patient(raw(1)).parts == (
        "pathology-report", "radiology-report", "patient",
    )  # fmt: skip
