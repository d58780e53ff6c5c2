"""What the fusion network must find in drawn cohorts, by the benchmark's own recipe; slow."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the fusion model needs the extra learn")

from herscope.core.errors import InputError  # noqa: E402 - after the check that torch is there
from herscope.respond.fusion.patients import Patient, no_tokens  # noqa: E402
from herscope.respond.fusion.synthetic import (  # noqa: E402
    TOKENS,
    SyntheticSpec,
    synthetic_case,
)
from herscope.respond.fusion.synthetic_truth import best_log_odds  # noqa: E402

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "fusion_truth.py"
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def truth() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fusion_truth", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mean_auc(truth: ModuleType, signal: str, missing: float, way: str) -> float:
    return float(
        np.mean(
            [
                truth.trained_auc(truth.cohort(signal, missing, seed), truth.WAYS[way], seed)
                for seed in SEEDS
            ]
        )
    )


# ---- goals ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fused_is_not_worse_than_the_modality_that_holds_the_signal(truth: ModuleType) -> None:
    fused = mean_auc(truth, "pathology", 0.6, "mumo")
    alone = mean_auc(truth, "pathology", 0.6, "pathology alone")
    assert alone > 0.7
    assert fused > alone - 0.02


@pytest.mark.slow
def test_fused_finds_what_only_two_modalities_tell_and_loses_it_gracefully(
    truth: ModuleType,
) -> None:
    fused = [mean_auc(truth, "interaction", missing, "mumo") for missing in (0.0, 0.3, 0.6)]
    alone = mean_auc(truth, "interaction", 0.3, "pathology alone")
    assert 0.45 < alone < 0.55
    assert fused[0] > 0.9
    assert fused[1] > alone + 0.2
    assert fused[0] > fused[1] > fused[2] > 0.53


@pytest.mark.slow
def test_nothing_comes_of_nothing(truth: ModuleType) -> None:
    assert 0.45 < mean_auc(truth, "none", 0.3, "mumo") < 0.55


# ---- the best rule -------------------------------------------------------------------------------


def found_auc(truth: ModuleType, signal: str, missing: float) -> float:
    spec = SyntheticSpec.model_validate({"signal": signal, "missing": missing, "seed": 4})
    cases = [synthetic_case(spec, number) for number in range(truth.TRAINED + 500)]
    return float(truth.best_auc(cases, signal))


def test_the_best_rule_is_as_good_as_the_drawing_allows(truth: ModuleType) -> None:
    assert found_auc(truth, "interaction", 0.0) > 0.97
    # With a share q of both modalities there, at most q^2 + 2 q (1 - q) + (1 - q)^2 / 2.
    q = 0.4**2
    assert 0.58 < found_auc(truth, "interaction", 0.6) < q**2 + 2 * q * (1 - q) + (1 - q) ** 2 / 2
    # 0.9 of the tokens are there and 0.85 of these right: 0.5 + 0.9 * (0.85 - 0.5).
    assert found_auc(truth, "patient", 0.0) == pytest.approx(0.815, abs=0.03)
    assert found_auc(truth, "none", 0.0) == 0.5


def test_the_best_rules_probabilities_are_calibrated() -> None:
    spec = SyntheticSpec(signal="interaction", missing=0.2, strength=1.0, seed=9)
    cases = [synthetic_case(spec, number) for number in range(2500)]
    odds = np.array([best_log_odds(case.patient, spec) for case in cases])
    labels = np.array([case.label for case in cases])
    likely = 1 / (1 + np.exp(-odds))
    for low in (0.2, 0.4, 0.6):
        some = (likely > low) & (likely <= low + 0.2)
        assert labels[some].mean() == pytest.approx(likely[some].mean(), abs=0.06)


def test_the_best_rule_is_the_likelihood_written_out() -> None:
    spec = SyntheticSpec(signal="radiology", strength=1.5, seed=3)
    patient = synthetic_case(spec, 0).patient
    values = patient.branches["radiology"].instances[:, 0].astype(float)

    def likelihood(shift: float) -> float:
        """Sum over every set of carriers, the sure one among them."""
        total = 0.0
        n = len(values)
        for sure in range(n):
            for bits in range(2**n):
                carriers = {i for i in range(n) if bits >> i & 1} | {sure}
                gap = np.array([v - shift * (i in carriers) for i, v in enumerate(values)])
                total += np.exp(-(gap**2) / 2).prod() / n / 2**n
        return total

    expected = np.log(likelihood(1.5) / likelihood(-1.5))
    assert best_log_odds(patient, spec) == pytest.approx(expected, abs=1e-9)
    assert best_log_odds(patient.without("radiology"), spec) == 0.0


def test_a_token_tells_and_one_that_is_missing_does_not() -> None:
    spec = SyntheticSpec(signal="patient", seed=2)
    cases = [synthetic_case(spec, number) for number in range(400)]
    odds = np.array([best_log_odds(case.patient, spec) for case in cases])
    labels = np.array([case.label for case in cases])
    assert ((odds > 0) == labels)[odds != 0].mean() == pytest.approx(0.85, abs=0.05)
    assert best_log_odds(Patient("n", {}, no_tokens(TOKENS)), spec) == 0.0


def test_there_is_no_best_rule_for_pictures() -> None:
    spec = SyntheticSpec(signal="radiology", picture_px=32)
    with pytest.raises(InputError, match="no best rule"):
        best_log_odds(synthetic_case(spec, 0).patient, spec)


def test_cohorts_drawn_before_there_were_pictures_are_the_same_today() -> None:
    case = synthetic_case(SyntheticSpec(signal="pathology", seed=1), 0)
    branches = case.patient.branches
    assert float(branches["pathology"].instances.sum()) == pytest.approx(-17.3695, abs=1e-3)
    assert branches["radiology"].kinds.tolist() == [0, 1, 1, 2]
    assert case.days == pytest.approx(19.479124878)
