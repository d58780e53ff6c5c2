"""What slide-level models find in bags of features whose truth is known, and what they must not.

    tiles        60 test bags of 300 trained; the signal sits in a tenth of the tiles
    arrangement  the same; two kinds of tiles, equally many in both classes, gathered or mixed
    none         labels are coin flips; five folds, pooled, so that a leak would show
    site         labels follow the site; five folds of patients against five of whole sites

Prints a Markdown table: AUC on the 60 test bags with DeLong's 95 % interval, or mean and SD over
the five folds, and the seconds each took with all cores.

    python benchmarks/planted_signal.py [--only tiles] [--models kat,abmil] [--bags 360]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from herscope.core.spec import Spec
from herscope.embed.planted_bags import PlantedSpec
from herscope.mil.kat_sample import KatSpec
from herscope.mil.training_spec import MilSpec
from herscope.recipes.cohorts import planted_bags
from herscope.recipes.mil_cohort import LabelSpec
from herscope.recipes.mil_fit import fit_mil

MODELS = ("kat", "slidegraph", "abmil", "mean", "max")
SMALL_KAT = KatSpec(
    dim=64, depth=2, heads=4, head_dim=32, mlp=128, dropout=0.1, tiles_per_kernel=36
)
"""A KAT of two layers: the bags have 32 features, not 512, and two cores train it."""
TRAINING: dict[str, dict[str, Any]] = {
    "kat": {"epochs": 40, "patience": 10, "batch": 16, "learning_rate": 1e-3},
    "slidegraph": {"epochs": 100, "patience": 20},
    "abmil": {"epochs": 100, "patience": 20, "learning_rate": 1e-3},
    "mean": {"epochs": 100, "patience": 20, "learning_rate": 1e-3},
    "max": {"epochs": 100, "patience": 20, "learning_rate": 1e-3},
}
HELD_OUT = ("tiles", "arrangement")


def main() -> None:
    """Train and test all of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="tiles,arrangement,none,site")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--bags", type=int, default=360)
    asked = parser.parse_args()
    models = asked.models.split(",")
    print(f"| signal | folds | {' | '.join(models)} |")
    print(f"|---|---|{'---|' * len(models)}")
    with tempfile.TemporaryDirectory() as scratch:
        for signal in asked.only.split(","):
            root = Path(scratch) / signal
            planted_bags(PlantedSpec.model_validate({"signal": signal, "bags": asked.bags}), root)
            for by in ("patient", "site") if signal == "site" else ("patient",):
                cells = [_auc(root, signal, name, by) for name in models]
                how = "held-out test" if signal in HELD_OUT else f"five, by {by}"
                print(f"| {signal} | {how} | {' | '.join(cells)} |", flush=True)


def _auc(root: Path, signal: str, model: str, by: str) -> str:
    labels = root / "labels.csv"
    if signal not in HELD_OUT:  # every bag is tested once
        rows = [line.rsplit(",", 1)[0] for line in labels.read_text().splitlines()]
        labels = root / "all.csv"
        labels.write_text("\n".join(rows) + "\n")
    folds = 1 if signal in HELD_OUT else 5
    spec = MilSpec.model_validate({"folds": folds, "folds_by": by, **TRAINING[model]})
    own: Spec | None = SMALL_KAT if model == "kat" else None
    started = time.perf_counter()
    document = fit_mil(
        labels,
        root / "features",
        root / f"{model}-{by}",
        model,
        model_spec=own,
        spec=spec,
        label_spec=LabelSpec(site_column="site"),
    )
    said = _held_out(document) if folds == 1 else _over_folds(document)
    alerts = ", ".join(alert["code"] for alert in document["alerts"])
    return f"{said}, {time.perf_counter() - started:.0f} s" + (f" ({alerts})" if alerts else "")


def _held_out(document: dict[str, Any]) -> str:
    [one] = document["figures"]["classes"].values()
    auc = one["auc_delong"] or one["auc_bootstrap"]
    return f"{auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]"


def _over_folds(document: dict[str, Any]) -> str:
    auc = document["over_folds"]["AUC macro one-vs-rest"]
    return f"{auc['mean']:.2f} ± {auc['sd']:.2f}"


if __name__ == "__main__":
    main()
