"""From a model's numbers to H-scores of patches and slides, without torch."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herscope.core.errors import InputError
from herscope.nn.hscore_predict import TargetPatch, h_scores_of, pooled_h_score
from herscope.recipes.hscore_formula import formula_h_score

ROOT = Path(__file__).parents[2]
WHITE = (255.0, 255.0, 255.0)


def test_pooled_pixel_h_scores_are_the_h_score_of_all_pixels_together():
    generator = np.random.Generator(np.random.PCG64(3))
    patches = [
        TargetPatch(
            generator.integers(40, 255, (32, 32, 3)).astype(np.uint8),
            generator.random((32, 32)) < share,
            WHITE,
        )
        for share in (0.1, 0.5, 0.9)
    ]
    whole = TargetPatch(
        np.concatenate([p.rgb for p in patches]), np.concatenate([p.target for p in patches]), WHITE
    )
    pooled = pooled_h_score(
        [formula_h_score(p) for p in patches], [int(p.target.sum()) for p in patches]
    )
    assert pooled == pytest.approx(formula_h_score(whole), abs=1e-9)
    assert 0 < pooled < 300


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(0, 10**6)), max_size=8), st.randoms())
def test_pooling_stays_in_range_and_ignores_order_and_patches_without_target(rows, random):
    found = pooled_h_score([h for h, _ in rows], [a for _, a in rows])
    mixed = [*rows, (math.nan, 0)]
    random.shuffle(mixed)
    assert pooled_h_score([h for h, _ in mixed], [a for _, a in mixed]) == found
    if any(a for _, a in rows):
        kept = [h for h, a in rows if a]
        assert min(kept) - 1e-9 <= found <= max(kept) + 1e-9
    else:
        assert found is None


@pytest.mark.parametrize(
    ("values", "areas"),
    [([1], [1, 2]), ([10], [-1]), ([301], [1]), ([math.nan], [1]), ([1], [math.inf])],
)
def test_impossible_patches_are_not_pooled(values, areas):
    with pytest.raises(InputError):
        pooled_h_score(values, areas)


def test_outputs_are_cut_to_0_to_300():
    assert h_scores_of(np.array([[-0.2], [0.25], [1.4]], np.float32)).tolist() == [0, 75, 300]


def test_prediction_imports_no_torch():
    code = "import sys, herscope.nn.hscore_predict; sys.exit('torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        check=True,
        timeout=60,
    )
