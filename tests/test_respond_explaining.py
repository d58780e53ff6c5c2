"""Explanations say what is true of networks whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the fusion model needs the extra learn")

from herscope.core.errors import InputError, SchemaError  # noqa: E402 - after the check for torch
from herscope.respond.explaining.altered import (  # noqa: E402
    tokens_of,
    with_token,
    without_instance,
    without_token,
)
from herscope.respond.explaining.contributions import part_contributions  # noqa: E402
from herscope.respond.explaining.dependence import (  # noqa: E402
    part_dependence,
    token_dependence,
)
from herscope.respond.explaining.explain import (  # noqa: E402
    Beside,
    dependence_document,
    explain_patient,
)
from herscope.respond.explaining.forward import (  # noqa: E402
    pictures_read_once,
    portions,
    response_logits,
)
from herscope.respond.explaining.grad_cam import grad_cam, mean_grad_cam  # noqa: E402
from herscope.respond.explaining.instances import instance_effects  # noqa: E402
from herscope.respond.explaining.occlusion import token_effects  # noqa: E402
from herscope.respond.explaining.places import BagPlace, LesionPlace  # noqa: E402
from herscope.respond.explaining.shapley import coalitions, shapley_values  # noqa: E402
from herscope.respond.explaining.spread import Spread  # noqa: E402
from herscope.respond.explaining.statement import cost_of_missing, statement  # noqa: E402
from herscope.respond.explaining.words import TokenWords, value_words  # noqa: E402
from herscope.respond.fusion.batch import collate  # noqa: E402
from herscope.respond.fusion.network import FusionNetwork, FusionSpec  # noqa: E402
from herscope.respond.fusion.patients import (  # noqa: E402
    PARTS,
    Branch,
    BranchLayout,
    Layout,
    Patient,
    TokenRow,
    no_tokens,
)
from herscope.respond.fusion.synthetic import (  # noqa: E402
    SyntheticSpec,
    synthetic_case,
    synthetic_layout,
)

SMALL = {"width": 16, "common": 16, "hidden": 12}
EDGE = 32
SQUARE = 8
TOKEN_LAYOUT = Layout({}, (2, 3, 2))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fitted(layout, patients, labels, *, seed=0, epochs=8, dropped=0.25, rate=3e-3, **options):
    """Train quickly on patients of which parts are dropped."""
    torch.manual_seed(seed)
    network = FusionNetwork(layout, FusionSpec.model_validate({**SMALL, **options}))
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-2)
    rng = np.random.default_rng(seed)
    wanted = torch.tensor(labels)
    for _ in range(epochs):
        order = rng.permutation(len(patients))
        for start in range(0, len(patients), 16):
            at = order[start : start + 16]
            seen = [
                patients[i].without(*(p for p in patients[i].parts if rng.uniform() < dropped))
                for i in at
            ]
            logits = network(collate(seen, layout))
            loss = torch.nn.functional.cross_entropy(logits, wanted[torch.from_numpy(at)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def untrained(layout, seed=0):
    torch.manual_seed(seed)
    network = FusionNetwork(layout, FusionSpec.model_validate(SMALL)).eval()
    for learned in (*network.missing.values(), network.nothing):
        torch.nn.init.normal_(learned)
    return network


@pytest.fixture(scope="module")
def pathology():
    """Two networks of a cohort whose label sits in the slides, and patients they have not seen."""
    spec = SyntheticSpec(signal="pathology", strength=3.0, seed=3)
    cases = [synthetic_case(spec, number) for number in range(180)]
    patients, labels = [c.patient for c in cases], [c.label for c in cases]
    layout = synthetic_layout()
    networks = [fitted(layout, patients[:150], labels[:150], seed=s) for s in (0, 1)]
    return networks, patients[150:], labels[150:]


def token_patient(number: int, levels: tuple[int | None, ...]) -> Patient:
    row = no_tokens(TOKEN_LAYOUT.tokens)
    patient = Patient(f"token-{number}", {}, row)
    for at, level in enumerate(levels):
        if level is not None:
            patient = with_token(patient, "patient", at, level)
    return patient


@pytest.fixture(scope="module")
def by_token():
    """A network of patients whose label is the second token's last level; the others are coins."""
    rng = np.random.default_rng(0)
    levels = [tuple(int(rng.integers(0, size)) for size in (2, 3, 2)) for _ in range(160)]
    patients = [token_patient(n, one) for n, one in enumerate(levels)]
    network = fitted(
        TOKEN_LAYOUT, patients, [int(one[1] == 2) for one in levels], epochs=12, dropped=0.1
    )
    return network, patients, levels


def square_patient(number: int) -> tuple[Patient, int, list[tuple[int, int]]]:
    """A patient whose lesions have a bright square somewhere where there is no response."""
    rng = np.random.default_rng(number)
    label, count = int(rng.integers(0, 2)), 2
    pictures = rng.normal(0.4, 0.05, (count, 3, EDGE, EDGE)).astype(np.float32)
    corners = []
    for picture in pictures:
        y, x = (int(v) for v in rng.integers(0, EDGE - SQUARE + 1, 2))
        corners.append((y, x))
        if label == 0:
            picture[:, y : y + SQUARE, x : x + SQUARE] = 1.0
    branch = Branch(pictures.clip(0, 1), no_tokens(()))
    return Patient(f"square-{number}", {"radiology": branch}, no_tokens(())), label, corners


PICTURED = Layout({"radiology": BranchLayout(96, 0, (), 0, EDGE)}, ())


@pytest.fixture(scope="module")
def squares():
    drawn = [square_patient(number) for number in range(96)]
    patients, labels = [d[0] for d in drawn], [d[1] for d in drawn]
    # A linear predictor: behind the layer norm of the other one, a sure answer has no slope.
    return fitted(PICTURED, patients, labels, epochs=6, dropped=0.0, rate=2e-3, predictor="linear")


# contributions


def test_shapley_values_of_a_sum_are_its_terms():
    terms = np.array([0.5, -2.0, 0.0, 3.0])

    found = shapley_values(coalitions(4) @ terms)

    np.testing.assert_allclose(found, terms, atol=1e-12)


def test_shapley_values_divide_a_product_of_two_evenly():
    inside = coalitions(3)

    found = shapley_values((inside[:, 0] & inside[:, 2]).astype(float))

    np.testing.assert_allclose(found, [0.5, 0.0, 0.5], atol=1e-12)


def test_shapley_values_refuse_a_coalition_too_few():
    with pytest.raises(InputError, match="no power of two"):
        shapley_values(np.zeros(7))


@pytest.mark.parametrize("gone", [(), ("radiology",), ("pathology-images", "patient")])
def test_contributions_sum_to_what_the_known_parts_moved(gone):
    networks = [untrained(synthetic_layout(), seed) for seed in (0, 1)]
    patient = synthetic_case(SyntheticSpec(seed=9), 4).patient.without(*gone)

    found = part_contributions(networks, [patient] * 2)

    nothing = patient.without(*PARTS)
    for member, network in enumerate(networks):
        logit, base = response_logits(network, [patient, nothing])
        assert found.values[member].sum() == pytest.approx(logit - base, abs=1e-5)
        assert found.logit[member] == pytest.approx(logit, abs=1e-5)
        assert found.base[member] == pytest.approx(base, abs=1e-5)
    assert found.parts == patient.parts
    assert found.parts == tuple(part for part in PARTS if part in found.parts)


def test_a_part_nobody_reads_contributes_nothing():
    network = untrained(synthetic_layout())
    torch.nn.init.zeros_(network.read_tokens.out.weight)
    torch.nn.init.zeros_(network.read_tokens.out.bias)
    patient = synthetic_case(SyntheticSpec(seed=9), 1).patient

    found = part_contributions([network], [patient])

    of = dict(zip(found.parts, found.values[0], strict=True))
    assert of["patient"] == pytest.approx(0, abs=1e-6)
    assert abs(of["pathology-images"]) > 1e-4


def test_where_slides_hold_the_label_slides_carry_the_contribution(pathology):
    networks, patients, labels = pathology

    found = [part_contributions(networks, [one] * 2) for one in patients]

    mean = {part: np.mean([abs(f.values.mean(axis=0)[at]) for f in found])
            for at, part in enumerate(found[0].parts)}  # fmt: skip
    others = [value for part, value in mean.items() if part != "pathology-images"]
    assert mean["pathology-images"] > 3 * max(others)
    slides = [f.values.mean(axis=0)[0] for f in found]
    right = [(s > 0) == (label == 1) for s, label in zip(slides, labels, strict=True)]
    assert np.mean(right) >= 0.8


def test_where_nothing_tells_the_label_contributions_are_small(pathology):
    networks, patients, _ = pathology
    spec = SyntheticSpec(signal="none", seed=3)
    cases = [synthetic_case(spec, number) for number in range(150)]
    blind = fitted(synthetic_layout(), [c.patient for c in cases], [c.label for c in cases])

    nothing = [np.abs(part_contributions([blind], [one]).values) for one in patients]
    slides = [np.abs(part_contributions(networks[:1], [one]).values[0, 0]) for one in patients]

    assert np.max(np.mean(nothing, axis=0)) < 0.35 * np.mean(slides)


def test_a_patient_of_whom_nothing_is_known_has_no_contributions():
    network = untrained(TOKEN_LAYOUT)

    found = part_contributions([network], [token_patient(0, (None, None, None))])

    assert found.parts == ()
    assert found.values.shape == (1, 0)
    assert found.logit[0] == found.base[0]


def test_two_patients_are_not_explained_as_one():
    networks = [untrained(TOKEN_LAYOUT)] * 2
    a, b = token_patient(0, (1, 1, 1)), token_patient(1, (1, 1, 1))

    with pytest.raises(InputError, match="token-1"):
        part_contributions(networks, [a, b])
    with pytest.raises(InputError, match="2 networks and 1 patients"):
        part_contributions(networks, [a])


# tokens


def test_a_removed_token_is_missing_and_nothing_else_changes():
    patient = synthetic_case(SyntheticSpec(seed=1), 0).patient
    before = tokens_of(patient, "radiology-report")

    after = tokens_of(without_token(patient, "radiology-report", 1), "radiology-report")

    assert not after.present[1]
    assert not after.values[2:9].any()
    np.testing.assert_array_equal(np.delete(after.present, 1), np.delete(before.present, 1))
    np.testing.assert_array_equal(after.values[9:], before.values[9:])
    assert before.present.any()


def test_a_modality_of_one_token_is_missing_without_it():
    report = TokenRow(np.array([1, 0], np.float32), np.array([True]), (2,))
    patient = Patient("a", {"radiology": Branch(None, report)}, no_tokens(()))

    assert without_token(patient, "radiology-report", 0).branches == {}


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="level 3"):
        with_token(token_patient(0, (0, 0, 0)), "patient", 1, 3)
    with pytest.raises(InputError, match="nothing of pathology-report"):
        with_token(token_patient(0, (0, 0, 0)), "pathology-report", 0, 0)


def test_occlusion_finds_the_token_that_decides(by_token):
    network, patients, levels = by_token
    deciding = next(i for i, one in enumerate(levels) if one[1] == 2)

    (found,) = token_effects([network], [patients[deciding]])

    assert int(np.abs(found.occlusion[0]).argmax()) == 1
    assert found.occlusion[0, 1] > 0.5
    assert found.attention.sum() == pytest.approx(1, abs=1e-5)


def test_a_missing_token_has_neither_occlusion_nor_attention(by_token):
    network, _, _ = by_token

    (found,) = token_effects([network], [token_patient(0, (1, None, 0))])

    assert np.isnan(found.occlusion[0, 1])
    assert found.attention[0, 1] == 0
    assert np.isfinite(found.occlusion[0, [0, 2]]).all()


# instances


def test_the_bag_that_carries_the_signal_moves_most_when_it_is_left_out(pathology):
    networks, patients, _ = pathology
    patient = max(patients, key=lambda p: len(p.branches["pathology"].instances))
    branch = patient.branches["pathology"]
    bags = np.zeros_like(branch.instances)
    bags[1, 0] = 4.0
    patient = Patient("one bag", {"pathology": replace(branch, instances=bags)}, patient.tokens)

    found = {one.modality: one for one in instance_effects(networks, [patient] * 2)}

    moved = found["pathology"].left_out.mean(axis=0)
    assert int(moved.argmax()) == 1
    np.testing.assert_allclose(found["pathology"].weights.sum(axis=1), 1, atol=1e-5)
    assert "radiology" not in found


def test_leaving_out_takes_the_measurements_and_the_words_of_the_bag_too():
    rng = np.random.default_rng(0)
    branch = Branch(
        rng.normal(size=(3, 2, 24)).astype(np.float32), no_tokens((10, 4, 10)),
        omics=np.arange(36, dtype=np.float32).reshape(3, 12),
        word_there=np.array([[True, True], [True, False], [True, True]]),
    )  # fmt: skip
    patient = Patient("a", {"pathology": branch}, no_tokens(()))

    left = without_instance(patient, "pathology", 1).branches["pathology"]

    np.testing.assert_array_equal(left.instances, branch.instances[[0, 2]])
    np.testing.assert_array_equal(left.omics[:, 0], [0, 24])
    assert left.word_there.all()
    with pytest.raises(InputError, match="no instance 3"):
        without_instance(patient, "pathology", 3)


def test_without_its_only_lesion_a_patient_has_no_pictures():
    patient, _, _ = square_patient(0)
    branch = patient.branches["radiology"]
    one = Patient("a", {"radiology": replace(branch, instances=branch.instances[:1])},
                  no_tokens(()))  # fmt: skip

    assert without_instance(one, "radiology", 0).parts == ()


def test_only_the_heaviest_are_left_out_where_there_are_many(pathology):
    networks, patients, _ = pathology
    patient = max(patients, key=lambda p: len(p.branches["pathology"].instances))

    found = instance_effects(networks, [patient] * 2, most_left_out=2)[0]

    measured = np.isfinite(found.left_out).all(axis=0)
    assert measured.sum() == 2
    weights = found.weights.mean(axis=0)
    assert weights[measured].min() >= weights[~measured].max()


# pictures


def test_grad_cam_lights_where_the_square_is_that_decides(squares):
    inside, outside, hits, quiet = [], [], [], []
    for number in range(200, 216):
        patient, label, corners = square_patient(number)
        found = grad_cam(squares, patient, "radiology")
        if label == 1:
            quiet.append(found.max())
            continue
        for map_, (y, x) in zip(found, corners, strict=True):
            big = np.kron(map_, np.ones((EDGE // len(map_),) * 2))
            within = np.zeros_like(big, bool)
            within[y : y + SQUARE, x : x + SQUARE] = True
            inside.append(big[within].mean())
            outside.append(big[~within].mean())
            hits.append(bool((big[within] == big.max()).any()))

    assert len(hits) >= 8
    assert np.mean(inside) > 2 * np.mean(outside)
    assert np.mean(hits) >= 0.8
    assert max(quiet) < 0.1 * np.mean(inside)  # nothing to see where there is no square


def test_random_weights_change_the_map(squares):
    # Adebayo et al. 2018: a map that does not depend on the weights explains no network.
    patient = next(p for p, label, _ in map(square_patient, range(200, 220)) if label == 0)

    learnt = grad_cam(squares, patient, "radiology").ravel()
    random = grad_cam(untrained(PICTURED, 5), patient, "radiology").ravel()

    flat = random.std() == 0
    assert flat or np.corrcoef(learnt, random)[0, 1] < 0.5


def test_a_network_that_ignores_pictures_has_maps_of_zeros():
    network = untrained(PICTURED)
    torch.nn.init.zeros_(network.modalities["radiology"].embed.weight)
    torch.nn.init.zeros_(network.modalities["radiology"].gate.weight)

    found = grad_cam(network, square_patient(1)[0], "radiology")

    assert not found.any()
    assert found.dtype == np.float32


def test_the_unit_of_a_map_is_the_logit(squares):
    # Maps of both classes together have as their mean the slope of the logit along the maps.
    patient = square_patient(200)[0]
    picture_network = squares.modalities["radiology"].picture_network
    plain = picture_network.maps

    towards = grad_cam(squares, patient, "radiology", "no response")
    away = grad_cam(squares, patient, "radiology", "response")

    ends = []
    for share in (0.99, 1.01):
        picture_network.maps = lambda x, share=share: share * plain(x)
        ends.append(response_logits(squares, [patient])[0])
    del picture_network.maps
    slope = (ends[0] - ends[1]) / 0.02  # of no response
    assert not (towards * away).any()  # a place speaks for one class at most
    assert (towards - away).mean(axis=(1, 2)).sum() == pytest.approx(slope, rel=0.02)


def test_grad_cam_leaves_the_network_as_it_was(squares):
    patient = square_patient(3)[0]
    before = response_logits(squares, [patient])

    maps = mean_grad_cam([squares, squares], [patient, patient], "radiology", "predicted")

    assert maps.shape == (2, EDGE // 8, EDGE // 8)
    assert "maps" not in vars(squares.modalities["radiology"].picture_network)
    np.testing.assert_array_equal(response_logits(squares, [patient]), before)


def test_grad_cam_of_vectors_is_refused(squares):
    patient = synthetic_case(SyntheticSpec(), 0).patient

    with pytest.raises(InputError, match="has no pictures in radiology"):
        grad_cam(untrained(synthetic_layout()), patient, "radiology")
    with pytest.raises(InputError, match="no class is called"):
        grad_cam(squares, square_patient(0)[0], "radiology", "maybe")


def test_a_picture_is_read_once_and_the_answer_is_the_same(squares):
    patients = [square_patient(n)[0] for n in (0, 1, 0)]
    network = squares.modalities["radiology"].picture_network
    plain = response_logits(squares, patients)
    read = []
    handle = network.layers.register_forward_hook(lambda _m, _i, out: read.append(len(out)))

    with pictures_read_once([squares, squares]):
        first = response_logits(squares, patients)
        again = response_logits(squares, patients[::-1])
    handle.remove()

    assert sum(read) == 4
    np.testing.assert_allclose(first, plain, atol=1e-5)
    np.testing.assert_allclose(again[::-1], plain, atol=1e-5)
    assert "forward" not in vars(network)


def test_large_patients_go_through_in_portions(monkeypatch):
    patients = [synthetic_case(SyntheticSpec(), n).patient for n in range(9)]
    monkeypatch.setattr("herscope.respond.explaining.forward.MOST_NUMBERS", 500)

    found = list(portions(patients))

    assert [p.name for part in found for p in part] == [p.name for p in patients]
    assert len(found) > 1


# dependence


def test_risk_falls_where_the_deciding_token_is_set_and_stays_along_the_others(by_token):
    network, patients, levels = by_token

    found = {one.token: one for one in token_dependence([network], [patients[:60]])}

    deciding = found["token 2"].levels
    assert deciding[2].mean < deciding[0].mean - 0.5
    assert found["token 2"].range > 5 * max(found["token 1"].range, found["token 3"].range)
    assert deciding[2].low <= deciding[2].mean <= deciding[2].high
    assert deciding[2].individual_low <= deciding[2].individual_high
    for at, level in enumerate(deciding):
        assert level.observed_patients == sum(one[1] == at for one in levels[:60])


def test_a_patient_is_judged_only_by_members_that_may(by_token):
    network, patients, _ = by_token
    wrong = untrained(TOKEN_LAYOUT)
    few = patients[:6]

    found = part_dependence([network, wrong], [few, [None] * 6])
    alone = part_dependence([network], [few])

    assert found == alone
    with pytest.raises(InputError, match="no patient"):
        part_dependence([network], [[None]])
    with pytest.raises(InputError, match="cohorts of"):
        part_dependence([network, wrong], [few, few[:2]])


def test_taking_the_slides_away_moves_the_risk_of_the_cohort(pathology):
    networks, patients, labels = pathology
    ill = [p for p, label in zip(patients, labels, strict=True) if label == 0]

    found = {one.part: one for one in part_dependence(networks, [ill, ill])}

    slides = found["pathology-images"]
    assert slides.difference == pytest.approx(slides.known - slides.unknown)
    assert slides.low > 0
    assert slides.difference > 3 * abs(found["patient"].difference)
    everybody = {one.part: one for one in part_dependence(networks, [patients, patients])}
    mixed = everybody["pathology-images"]
    assert mixed.moved > 2 * abs(mixed.difference)  # some up, some down


def test_dependence_is_of_the_patients_that_have_the_report():
    layout = synthetic_layout()
    whole = [synthetic_case(SyntheticSpec(seed=2), n).patient for n in range(4)]
    cohort = [whole[0], whole[1].without("radiology-report"), whole[2].without("radiology")]

    found = token_dependence([untrained(layout)], [cohort])

    counts = {(one.token_set, one.patients) for one in found}
    assert counts == {("pathology-report", 3), ("radiology-report", 1), ("patient", 3)}
    alone = next(one for one in found if one.patients == 1)
    assert alone.levels[0].low is None


# all together


def test_an_explanation_is_json_with_words_and_places(pathology):
    networks, patients, labels = pathology
    patient = patients[0].without("radiology-radiomics")
    bags = len(patient.branches["pathology"].instances)
    lesions = len(patient.branches["radiology"].instances)
    words = [TokenWords(f"entry_{n}", tuple("abcdefghijklm"[:size]))
             for n, size in enumerate(synthetic_layout().tokens)]  # fmt: skip
    beside = Beside(
        cut=0.5, label=labels[0], words={"patient": words},
        places={"pathology": [BagPlace("s", n, 2 * n, 448.0) for n in range(bags)],
                "radiology": [LesionPlace(f"lesion {n}", "liver") for n in range(lesions)]},
    )  # fmt: skip

    explained = explain_patient(networks, [patient, patient], beside)
    document = explained.document(
        dependence=dependence_document([], part_dependence(networks, [[patient]] * 2))
    )

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["missing"] == ["radiology-radiomics"]
    total = sum(row["logit"] for row in document["contributions"])
    assert total == pytest.approx(document["logit"]["value"] - document["base"]["value"])
    assert document["group"] == ("low risk" if document["probability"] >= 0.5 else "high risk")
    weights = [bag["weight"] for bag in document["bags"]]
    assert weights == sorted(weights, reverse=True)
    assert all(bag["y_px"] == 2 * bag["number"] for bag in document["bags"])
    assert [one["number"] for one in document["lesions"]] == list(range(lesions))
    known = [row for row in document["tokens"]["patient"] if row["value"] is not None]
    assert known
    assert known[0]["token"].startswith("entry ")
    assert known[0]["value"] in "abcdefghijklm"


def test_an_explanation_of_pictures_has_maps(squares):
    patient, _, _ = square_patient(204)

    explained = explain_patient([squares], [patient])

    assert explained.cams["radiology"].shape == (2, 4, 4)
    peaks = [one.cam_peak for one in explained.lesions]
    assert peaks == [pytest.approx(m.max()) for m in explained.cams["radiology"]]
    assert explained.probability.low is None
    response = explain_patient([squares], [patient], towards="response")
    scale = max(explained.cams["radiology"].max(), response.cams["radiology"].max())
    assert explained.cam_scale == response.cam_scale == {"radiology": pytest.approx(scale)}
    dull = explain_patient([untrained(PICTURED)], [patient])
    assert dull.cams["radiology"].max() < 1
    assert dull.cam_scale == {"radiology": 1.0}
    predicted = explain_patient([squares], [patient], towards="predicted")
    answer = response if predicted.probability.value >= 0.5 else explained
    np.testing.assert_array_equal(predicted.cams["radiology"], answer.cams["radiology"])


def test_words_of_other_tokens_and_places_of_other_bags_are_refused():
    network, patient = untrained(TOKEN_LAYOUT), token_patient(0, (1, 1, 1))

    with pytest.raises(SchemaError, match="words for tokens"):
        explain_patient(
            [network], [patient], Beside(words={"patient": [TokenWords("a", ("x", "y"))]})
        )
    with pytest.raises(SchemaError, match="1 places for 0 instances"):
        explain_patient(
            [network], [patient], Beside(places={"pathology": [BagPlace("s", 0, 0, 1.0)]})
        )
    with pytest.raises(InputError, match="cut-off"):
        explain_patient([network], [patient], Beside(cut=1.5))


def test_the_statement_says_what_was_missing_and_what_that_costs():
    rows = [
        {"parts": ["patient", "radiology-report"], "without": [], "patients": 90,
         "auc": {"value": 0.7, "low": 0.6, "high": 0.8}},
        {"parts": ["patient"], "without": ["radiology-report"], "patients": 90,
         "auc": {"value": 0.55, "low": None, "high": None}},
    ]  # fmt: skip

    said = " ".join(
        statement(
            Spread(0.4, 0.2, 0.6), 5, group="high risk", cut=0.5, parts=["patient"],
            missing=["radiology-report"], contributions=(), availability=rows,
        )
    )  # fmt: skip

    assert "Known: patient data. Missing: radiology report." in said
    assert "AUC 0.55 (90 patients)" in said
    assert "it had 0.70 (0.60 to 0.80, 90 patients)" in said
    assert "do not agree" in said
    unknown = cost_of_missing(["patient", "pathology-report"], ["radiology-report"], rows)
    assert "not measured" in unknown[0]


def test_values_are_written_as_a_reader_says_them():
    assert value_words([0, 1], ("no", "yes")) == "yes"
    assert value_words([0, 0.6, 0.4], ("0", "1+", "2+")) == "1+ 60 %, 2+ 40 %"
