"""What the fusion network finds in drawn cohorts whose truth is known, with parts missing.

    pathology     the label sits in one modality: fused must not be worse than that modality alone
    interaction   in whether two coins agree, one in each modality: fused must beat both
    none          nowhere: chance

600 patients, 360 trained on, 240 tested, one seed, a fixed number of epochs, nothing chosen on the
test patients. AUC. Modalities are also dropped at random in training. The standard error of an AUC
near chance is 0.037.

    python benchmarks/fusion_truth.py [--signals pathology,interaction,none] [--missing 0,0.3,0.6]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from herscope.respond.fusion.batch import collate
from herscope.respond.fusion.losses import LossSpec, fusion_loss
from herscope.respond.fusion.network import FusionNetwork, FusionSpec
from herscope.respond.fusion.patients import Patient
from herscope.respond.fusion.synthetic import (
    Case,
    SyntheticSpec,
    synthetic_case,
    synthetic_layout,
)
from herscope.stats.classification.delong import auc

PATIENTS, TRAINED, EPOCHS, BATCH = 600, 360, 40, 32
DROPPED = 0.2
SIZES = {"width": 48, "common": 64, "hidden": 32, "dropout": 0.1}
WAYS = {
    "mumo": {"fusion": "mumo"},
    "mumo, linear as released": {"fusion": "mumo", "predictor": "linear"},
    "concat": {"fusion": "concat"},
    "sum": {"fusion": "sum"},
    "product": {"fusion": "product"},
    "pathology alone": {"without": "radiology"},
    "radiology alone": {"without": "pathology"},
}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--signals", default="pathology,interaction,none")
    parser.add_argument("--missing", default="0,0.3,0.6")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| signal | missing | {' | '.join(WAYS)} |\n|---|---|{'---|' * len(WAYS)}")
    for signal in asked.signals.split(","):
        for missing in map(float, asked.missing.split(",")):
            spec = SyntheticSpec.model_validate({"signal": signal, "missing": missing})
            cases = [synthetic_case(spec, number) for number in range(PATIENTS)]
            cells = [f"{_auc(cases, dict(way)):.2f}" for way in WAYS.values()]
            print(f"| {signal} | {missing:.0%} | {' | '.join(cells)} |", flush=True)


def _auc(cases: list[Case], way: dict[str, str]) -> float:
    gone = (way.pop("without"),) if "without" in way else ()
    layout = synthetic_layout()
    torch.manual_seed(0)
    network = FusionNetwork(layout, FusionSpec.model_validate({**SIZES, **way}))
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    losses = LossSpec(gamma=0.0, survival=0.2, alignment=0.1)
    rng = np.random.default_rng(0)
    for epoch in range(EPOCHS):
        order = rng.permutation(TRAINED)
        for start in range(0, TRAINED, BATCH):
            part = [cases[i] for i in order[start : start + BATCH]]
            seen = [_dropped(case.patient.without(*gone), rng) for case in part]
            batch = collate(seen, layout, progress=epoch / EPOCHS)
            target = torch.tensor([[c.label, c.days, c.event] for c in part])
            kinds = {name: one.kinds for name, one in batch.branches.items()}
            found = network.branches(batch)
            loss = fusion_loss(found, target, losses, kinds=kinds, progress=batch.progress)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
    network.eval()
    tested = cases[TRAINED:]
    with torch.inference_mode():
        outputs = network(collate([c.patient.without(*gone) for c in tested], layout))
    scores = outputs.softmax(dim=1)[:, 1].numpy()
    return auc([c.label == 1 for c in tested], scores.astype(float)).value


def _dropped(patient: Patient, rng: np.random.Generator) -> Patient:
    """Take modalities away at random, never the last one."""
    names = [name for name in patient.branches if rng.uniform() < DROPPED]
    return patient if len(names) == len(patient.branches) else patient.without(*names)


if __name__ == "__main__":
    main()
