"""What the fusion network finds in drawn cohorts whose truth is known, with parts missing.

    pathology     the label sits in one modality: fused must not be worse than that modality alone
    interaction   in whether two coins agree, one in each modality: fused must beat both
    report        in a token of the pathology report
    patient       in a token of the patient
    none          nowhere: chance

360 patients trained on, 1000 others tested; 20 epochs, the mean of the weights after each of the
last 15, nothing chosen on the test patients. Modalities are also dropped at random in training.
AUC, mean and SD over seeds, each of a cohort and a network of its own; the standard error of one
AUC near chance is 0.018. ``best`` is the rule by which the cohort was drawn, given what is known of
each patient: no model can expect more.

    python benchmarks/fusion_truth.py [--signals pathology,interaction,none] [--missing 0,0.3,0.6]
        [--seeds 1,2,3] [--ways mumo,concat]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from herscope.respond.fusion.batch import collate
from herscope.respond.fusion.loss_spec import LossSpec
from herscope.respond.fusion.losses import fusion_loss
from herscope.respond.fusion.network import FusionNetwork, FusionSpec
from herscope.respond.fusion.patients import Patient
from herscope.respond.fusion.synthetic import (
    Case,
    SyntheticSpec,
    synthetic_case,
    synthetic_layout,
)
from herscope.respond.fusion.synthetic_truth import best_log_odds
from herscope.stats.classification.delong import auc

TRAINED, TESTED, EPOCHS, AVERAGED, BATCH = 360, 1000, 20, 15, 32
DROPPED = 0.2
SIZES = {"width": 48, "common": 64, "hidden": 32, "dropout": 0.1}
LOSSES = LossSpec(gamma=0.0, survival=0.2, alignment=0.1)
WAYS: dict[str, dict[str, object]] = {
    "mumo": {"fusion": "mumo"},
    "mumo, as published": {"fusion": "mumo", "interaction": False},
    "the same, linear as released": {
        "fusion": "mumo",
        "interaction": False,
        "predictor": "linear",
    },
    "concat": {"fusion": "concat"},
    "sum": {"fusion": "sum"},
    "product": {"fusion": "product"},
    "pathology alone": {"without": ("radiology",)},
    "radiology alone": {"without": ("pathology",)},
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--signals", default="pathology,interaction,report,patient,none")
    parser.add_argument("--missing", default="0,0.3,0.6")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--ways", default=";".join(WAYS), help="separated by semicolons")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ways = asked.ways.split(";")
    print(f"| signal | missing | {' | '.join(ways)} | best |\n|---|---|{'---|' * (len(ways) + 1)}")
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for signal in asked.signals.split(","):
        for missing in map(float, asked.missing.split(",")):
            cohorts = {seed: cohort(signal, missing, seed) for seed in seeds}
            cells = [
                _cell([trained_auc(cases, WAYS[way], seed) for seed, cases in cohorts.items()])
                for way in ways
            ]
            best = [best_auc(cases, signal) for cases in cohorts.values()]
            print(f"| {signal} | {missing:.0%} | {' | '.join(cells)} | {_cell(best)} |", flush=True)


def _cell(values: Sequence[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def cohort(signal: str, missing: float, seed: int) -> list[Case]:
    """Draw the patients to train on, then those to test."""
    spec = SyntheticSpec.model_validate({"signal": signal, "missing": missing, "seed": seed})
    return [synthetic_case(spec, number) for number in range(TRAINED + TESTED)]


def best_auc(cases: Sequence[Case], signal: str) -> float:
    """AUC of the rule by which the cohort was drawn, on its test patients."""
    spec = SyntheticSpec.model_validate({"signal": signal})
    scores = np.array([best_log_odds(case.patient, spec) for case in cases[TRAINED:]])
    return _auc(cases[TRAINED:], scores)


def trained_auc(cases: Sequence[Case], way: Mapping[str, object], seed: int) -> float:
    """Train one network on the first patients and return its AUC on the others."""
    gone = tuple(way.get("without", ()))
    choices = {key: value for key, value in way.items() if key != "without"}
    torch.manual_seed(seed)
    network = FusionNetwork(synthetic_layout(), FusionSpec.model_validate({**SIZES, **choices}))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    rng = np.random.Generator(np.random.PCG64(seed))
    seen = [case.patient.without(*gone) for case in cases]
    sums: dict[str, Tensor] = {}
    for epoch in range(EPOCHS):
        order = rng.permutation(TRAINED)
        for start in range(0, TRAINED, BATCH):
            part = order[start : start + BATCH].tolist()
            batch = collate(
                [_dropped(seen[i], rng) for i in part], network.layout, progress=epoch / EPOCHS
            )
            target = torch.tensor([[cases[i].label, cases[i].days, cases[i].event] for i in part])
            kinds = {name: one.kinds for name, one in batch.branches.items()}
            found = network.branches(batch)
            loss = fusion_loss(found, target, LOSSES, kinds=kinds, progress=batch.progress)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
        if epoch >= EPOCHS - AVERAGED:
            for name, value in network.state_dict().items():
                sums[name] = sums.get(name, 0.0) + value.detach() / AVERAGED
    network.load_state_dict(sums)
    network.eval()
    with torch.inference_mode():
        outputs = network(collate(seen[TRAINED:], network.layout))
    return _auc(cases[TRAINED:], outputs.softmax(dim=1)[:, 1].numpy().astype(float))


def _auc(cases: Sequence[Case], scores: np.ndarray) -> float:
    return auc([case.label == 1 for case in cases], scores).value


def _dropped(patient: Patient, rng: np.random.Generator) -> Patient:
    """Take modalities away at random, never the last one."""
    names = [name for name in patient.branches if rng.uniform() < DROPPED]
    return patient if len(names) == len(patient.branches) else patient.without(*names)


if __name__ == "__main__":
    main()
