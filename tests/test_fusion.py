"""The fusion network treats what is missing as the paper says; its losses are what they claim."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the fusion model needs the extra learn")

from torch import Tensor  # noqa: E402 - after the check that torch is there

from herscope.core.errors import InputError, SchemaError  # noqa: E402
from herscope.respond.fusion.attention import Attend, Pool  # noqa: E402
from herscope.respond.fusion.batch import collate  # noqa: E402
from herscope.respond.fusion.loss_spec import LossSpec  # noqa: E402
from herscope.respond.fusion.losses import (  # noqa: E402
    alignment_loss,
    cox_loss,
    focal_loss,
    fusion_loss,
)
from herscope.respond.fusion.network import FusionNetwork, FusionSpec  # noqa: E402
from herscope.respond.fusion.patients import (  # noqa: E402
    Branch,
    Patient,
    TokenRow,
    no_tokens,
)
from herscope.respond.fusion.synthetic import (  # noqa: E402
    SyntheticSpec,
    synthetic_case,
    synthetic_layout,
)

SMALL = {"width": 12, "common": 16, "hidden": 8}
LAYOUT = synthetic_layout()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(**options: object) -> FusionNetwork:
    torch.manual_seed(0)
    made = FusionNetwork(LAYOUT, FusionSpec.model_validate({**SMALL, **options})).eval()
    for learned in (*made.missing.values(), made.nothing):  # away from their start at nought
        torch.nn.init.normal_(learned)
    return made


def patients(n: int = 6, missing: float = 0.0) -> list[Patient]:
    spec = SyntheticSpec(missing=missing, seed=5)
    return [synthetic_case(spec, number).patient for number in range(n)]


def logits(model: FusionNetwork, cohort: list[Patient]) -> Tensor:
    with torch.inference_mode():
        return model(collate(cohort, LAYOUT))


# ---- the three scenarios -------------------------------------------------------------------------


def parts(model: FusionNetwork, patient: Patient) -> dict[str, Tensor]:
    """Specific and agnostic vectors of each modality, by the network's own layers."""
    batch = collate([patient], LAYOUT)
    found = {}
    for name in LAYOUT.branches:
        x, _, _ = model.modalities[name](batch.branches[name])
        lifted = model.lift[name](x)
        found[f"S {name}"] = model.specific[name](lifted)
        found[f"A {name}"] = model.agnostic[name](lifted)
    return found


@pytest.mark.parametrize(
    ("gone", "formula"),
    [
        ((), ("S pathology", "mean", "S radiology")),
        (("radiology",), ("S pathology", "A pathology", "missing radiology")),
        (("pathology",), ("missing pathology", "A radiology", "S radiology")),
        (("pathology", "radiology"), ("missing pathology", "nothing", "missing radiology")),
    ],
)
def test_each_scenario_is_the_papers(gone: tuple[str, ...], formula: tuple[str, ...]) -> None:
    model = network()
    whole = patients(1)[0]
    with torch.inference_mode():
        known = parts(model, whole)
        known["mean"] = (known["A pathology"] + known["A radiology"]) / 2
        known["nothing"] = model.nothing[None]
        known |= {f"missing {name}": model.missing[name][None] for name in LAYOUT.branches}
        expected = model.join(torch.cat([known[part] for part in formula], dim=1))

        batch = collate([whole.without(*gone)], LAYOUT)
        lifted, there = {}, {}
        for name in LAYOUT.branches:
            x, _, _ = model.modalities[name](batch.branches[name])
            lifted[name], there[name] = model.lift[name](x), batch.branches[name].known
        found, _ = model._fuse(lifted, there, 1)

    assert found == pytest.approx(expected, abs=1e-6)


def test_the_interaction_is_the_product_of_both_and_nothing_where_one_is_missing() -> None:
    model, plain = network(), network(interaction=False)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "interaction" not in k})
    cohort = patients(5)
    cohort += [one.without("radiology") for one in cohort] + [cohort[0].without("pathology")]
    with torch.inference_mode():
        batch = collate(cohort, LAYOUT)
        found, without = model.branches(batch), plain.branches(batch)
        x = {n: model.lift[n](model.modalities[n](batch.branches[n])[0]) for n in LAYOUT.branches}
        sides = [torch.tanh(model.interaction.sides[n](x[n])) for n in LAYOUT.branches]
        expected = (sides[0] * sides[1]) @ model.interaction.vote.weight.T

    assert found.interaction[:5] == pytest.approx(expected[:5], abs=1e-6)
    assert (found.interaction[5:] == 0).all()
    assert found.logits - without.logits == pytest.approx(found.interaction, abs=1e-6)
    assert without.interaction is None


def test_the_interactions_own_loss_is_of_labelled_patients_with_both() -> None:
    model = network()
    cohort = patients(4)
    cohort[1] = cohort[1].without("radiology")
    batch = collate(cohort, LAYOUT)
    kinds = {"radiology": batch.branches["radiology"].kinds}
    found = model.branches(batch)
    target = torch.tensor([[0.0, 5.0, 1.0], [1.0, 6.0, 1.0], [1.0, 7.0, 1.0], [-1.0, 8.0, 1.0]])

    with_it, without = (
        fusion_loss(found, target, LossSpec(interaction=w), kinds=kinds, progress=1.0)
        for w in (2.0, 0.0)
    )

    expected = focal_loss(found.interaction[[0, 2]], torch.tensor([0, 1]), 2.0)
    assert (with_it - without).item() == pytest.approx(2 * expected.item(), abs=1e-6)


@pytest.mark.parametrize("fusion", ["mumo", "sum", "product", "concat"])
def test_every_fusion_uses_its_learned_vector_for_what_is_missing(fusion: str) -> None:
    model = network(fusion=fusion)
    without = [p.without("radiology") for p in patients()]
    before = logits(model, without)

    with torch.no_grad():
        model.missing["radiology"] += 1.0

    assert not torch.allclose(before, logits(model, without))
    assert torch.allclose(logits(network(fusion=fusion), patients()), logits(model, patients()))


def test_a_missing_modality_differs_from_one_that_is_all_noughts() -> None:
    model = network()
    one = patients(1)[0]
    blank = dict(one.branches)
    shape = blank["radiology"].instances.shape
    blank["radiology"] = Branch(
        np.zeros(shape, np.float32), no_tokens(LAYOUT.branches["radiology"].report)
    )
    there = Patient("blank", blank, one.tokens)
    assert not torch.allclose(logits(model, [there]), logits(model, [one.without("radiology")]))


def test_a_report_without_pictures_counts() -> None:
    model = network()
    one = patients(1)[0]
    report = one.branches["radiology"].report
    only = Patient("r", {"radiology": Branch(None, report)}, one.tokens)
    none = Patient("n", {}, one.tokens)
    assert torch.isfinite(logits(model, [only])).all()
    assert not torch.allclose(logits(model, [only]), logits(model, [none]))


def test_nobody_knows_anything_and_still_no_nan() -> None:
    nothing = Patient("n", {}, no_tokens(LAYOUT.tokens))
    found = logits(network(), [nothing, nothing])
    assert torch.isfinite(found).all()
    assert torch.equal(found[0], found[1])


# ---- batches -------------------------------------------------------------------------------------


def test_a_patients_logits_do_not_depend_on_the_others() -> None:
    model = network()
    cohort = patients(8, missing=0.4)
    together = logits(model, cohort)
    alone = torch.cat([logits(model, [one]) for one in cohort])
    assert together == pytest.approx(alone, abs=1e-5)


def test_the_order_of_lesions_does_not_matter() -> None:
    model = network()
    one = patients(1)[0]
    old = one.branches["radiology"]
    turn = np.arange(len(old.instances))[::-1].copy()
    new = Branch(old.instances[turn], old.report, old.omics[turn], old.time, old.kinds[turn])
    turned = Patient("t", {**one.branches, "radiology": new}, one.tokens)
    assert logits(model, [turned]) == pytest.approx(logits(model, [one]), abs=1e-5)


def test_words_are_gathered_into_instances() -> None:
    model = network()
    one = patients(1)[0]
    old = one.branches["pathology"]
    words = np.repeat(old.instances[:, None], 3, axis=1)
    words[:, 1] *= -1
    new = Patient(
        "w",
        {**one.branches, "pathology": Branch(words, old.report, old.omics, old.time)},
        one.tokens,
    )
    shuffled = Branch(words[:, [2, 0, 1]].copy(), old.report, old.omics, old.time)
    again = Patient("w", {**one.branches, "pathology": shuffled}, one.tokens)
    assert not torch.allclose(logits(model, [new]), logits(model, [one]))
    assert logits(model, [again]) == pytest.approx(logits(model, [new]), abs=1e-5)


def test_a_missing_token_is_not_a_token_of_noughts() -> None:
    attend = Attend(8, 2)
    keys = torch.randn(1, 3, 8)
    query = torch.randn(1, 1, 8)
    all_there = torch.ones(1, 3, dtype=torch.bool)
    two = all_there.clone()
    two[0, 2] = False
    with torch.inference_mode():
        full, _ = attend(query, keys, all_there)
        masked, weights = attend(query, keys, two)
        short, _ = attend(query, keys[:, :2], two[:, :2])
    assert masked == pytest.approx(short, abs=1e-6)
    assert float(weights[0, 0, 2]) == 0.0
    assert not torch.allclose(full, masked)


def test_attention_and_pooling_of_nothing_are_nought_and_have_gradients() -> None:
    keys = torch.randn(2, 3, 8, requires_grad=True)
    there = torch.tensor([[True, False, True], [False, False, False]])
    read, _ = Attend(8, 1)(torch.randn(2, 1, 8), keys, there)
    pooled, weights = Pool(8)(keys, there)
    assert (read[1] == 0).all()
    assert (pooled[1] == 0).all()
    assert weights[0].sum().item() == pytest.approx(1.0)
    (read.sum() + pooled.sum()).backward()
    assert torch.isfinite(keys.grad).all()
    assert (keys.grad[1] == 0).all()


# ---- losses --------------------------------------------------------------------------------------


def test_focal_loss_without_gamma_is_cross_entropy_of_the_labelled() -> None:
    z, labels = torch.randn(6, 2), torch.tensor([0, 1, -1, 1, 0, -1])
    kept = labels >= 0
    expected = torch.nn.functional.cross_entropy(z[kept], labels[kept])
    assert float(focal_loss(z, labels, 0.0)) == pytest.approx(float(expected), abs=1e-6)
    assert focal_loss(z, labels, 2.0) < expected
    assert focal_loss(z, torch.full((6,), -1), 2.0) == 0


def test_cox_loss_is_the_partial_likelihood_written_out() -> None:
    rng = np.random.default_rng(0)
    risk, times = rng.normal(size=9), rng.integers(1, 6, 9).astype(float)  # with ties
    events = np.array([1, 0, 1, 1, 0, 1, 1, 0, 1.0])
    total = 0.0
    for i in range(9):
        if events[i]:
            at_risk = [j for j in range(9) if times[j] >= times[i]]
            total -= risk[i] - np.log(sum(np.exp(risk[j]) for j in at_risk))
    found = cox_loss(*(torch.tensor(v) for v in (risk, times, events)))
    assert float(found) == pytest.approx(total / events.sum(), abs=1e-5)


def test_the_released_risk_set_leaves_the_patient_out() -> None:
    risk = torch.tensor([0.3, 0.1])
    times, events = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])
    expected = -np.log(np.exp(0.3) / (np.exp(0.1) + 1e-6))
    assert float(cox_loss(risk, times, events, "released")) == pytest.approx(expected, abs=1e-5)


def test_survival_without_events_or_times_is_nought_with_a_gradient() -> None:
    risk = torch.randn(4, requires_grad=True)
    for times, events in (
        (torch.ones(4), torch.zeros(4)),
        (torch.full((4,), float("nan")), torch.ones(4)),
    ):
        loss = cox_loss(risk, times, events)
        loss.backward()
        assert loss.item() == 0.0
        assert (risk.grad == 0).all()


def test_alignment_wants_a_patients_own_pair_closest() -> None:
    a = torch.randn(5, 7)
    matched, crossed = alignment_loss(a, a, 0.1), alignment_loss(a, a.flip(0), 0.1)
    assert matched < 0.5 < crossed
    assert alignment_loss(a[:1], a[:1], 0.1) == 0


def test_alignment_is_the_formula_written_out() -> None:
    a, b = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    u, v = (x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (a, b))
    s = u @ v.T / 0.5
    total = 0.0
    for i in range(4):
        total -= s[i, i] - np.log(np.exp(s[i]).sum())
        total -= s[i, i] - np.log(np.exp(s[:, i]).sum())
    assert float(alignment_loss(a, b, 0.5)) == pytest.approx(total / 8, abs=1e-5)


def test_the_whole_loss_has_a_gradient_for_every_parameter_that_a_cohort_reaches() -> None:
    torch.manual_seed(1)
    model = FusionNetwork(LAYOUT, FusionSpec.model_validate(SMALL))
    batch = collate(patients(12, missing=0.4), LAYOUT)
    target = torch.tensor([[i % 2, 10.0 + i, 1.0] for i in range(12)])
    kinds = {"radiology": batch.branches["radiology"].kinds}
    loss = fusion_loss(model.branches(batch), target, LossSpec(), kinds=kinds, progress=0.0)
    loss.backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    # Nobody has a report without pictures, and vectors of one word need no attention between words.
    allowed = ("no_image", "between_words", "pool_words", "word_transform", "nothing")
    assert {n for n in without if not any(part in n for part in allowed)} == set()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ---- what is refused, and the drawn cohort -------------------------------------------------------


def test_a_patient_of_another_layout_is_refused_by_name() -> None:
    one = patients(1)[0]
    with pytest.raises(SchemaError, match=r"patient odd: tokens of \(2,\)"):
        collate([Patient("odd", {}, no_tokens((2,)))], LAYOUT)
    wide = Branch(np.ones((2, 99), np.float32), one.branches["pathology"].report)
    with pytest.raises(SchemaError, match="pathology: features 99, the model takes 24"):
        collate([Patient("wide", {"pathology": wide}, one.tokens)], LAYOUT)


def test_impossible_branches_are_refused() -> None:
    report = no_tokens((2, 3))
    with pytest.raises(InputError, match="without instances, radiomics and report"):
        Branch(None, report)
    with pytest.raises(SchemaError, match="no numbers"):
        Branch(np.full((1, 2), np.nan, np.float32), report)
    with pytest.raises(SchemaError, match="said to be missing and has values"):
        TokenRow(np.ones(2, np.float32), np.array([False]), (2,))


def test_a_drawn_patient_is_the_same_in_any_cohort() -> None:
    a, b = (synthetic_case(SyntheticSpec(signal="interaction", seed=2), 7) for _ in range(2))
    assert a.label == b.label
    assert (
        a.patient.branches["pathology"].instances == b.patient.branches["pathology"].instances
    ).all()


def test_in_an_interaction_neither_modality_tells_anything_alone() -> None:
    spec = SyntheticSpec(signal="interaction", seed=1)
    cases = [synthetic_case(spec, n) for n in range(800)]
    labels = np.array([c.label for c in cases])
    means = {
        name: np.array([c.patient.branches[name].instances[:, 0].mean() for c in cases])
        for name in ("pathology", "radiology")
    }
    for values in means.values():
        assert abs(np.corrcoef(values, labels)[0, 1]) < 0.1
    both = np.sign(means["pathology"]) == np.sign(means["radiology"])
    assert (both == labels.astype(bool)).mean() > 0.85


def test_each_set_of_known_modalities_has_a_temperature_of_its_own() -> None:
    model = network()
    cohort = [one for one in patients(6) if set(one.branches) == {"pathology", "radiology"}]
    before = {names: logits(model, [p.without(*names) for p in cohort]) for names in SUBSETS}

    model.temperature.copy_(torch.tensor([2.0, 4.0, 8.0, 16.0]))

    for names, warmth in zip(SUBSETS, (16.0, 8.0, 4.0, 2.0), strict=True):
        after = logits(model, [p.without(*names) for p in cohort])
        assert torch.allclose(after * warmth, before[names], atol=1e-5)


SUBSETS = ((), ("pathology",), ("radiology",), ("pathology", "radiology"))
"""What is hidden; of the numbers of a set, pathology is the first bit."""
