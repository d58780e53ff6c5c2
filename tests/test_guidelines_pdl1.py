"""PD-L1: what is counted, the cap, and the fewest cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herscope.core.errors import InputError
from herscope.guidelines.pdl1 import TOO_FEW, cps, tps


def test_tps_is_the_share_of_positive_tumour_cells():
    assert tps(positive_tumor_cells=0, tumor_cells=100).value == 0
    assert tps(positive_tumor_cells=1, tumor_cells=200).value == 0.5
    assert tps(positive_tumor_cells=200, tumor_cells=200).value == 100


def test_cps_counts_immune_cells_above_but_not_below_the_line():
    assert cps(positive_tumor_cells=5, positive_immune_cells=15, tumor_cells=200).value == 10


@pytest.mark.parametrize(
    ("immune", "value", "capped"), [(9, 99.0, False), (10, 100.0, False), (11, 100.0, True)]
)
def test_cps_is_cut_at_one_hundred_and_says_so(immune, value, capped):
    reading = cps(positive_tumor_cells=90, positive_immune_cells=immune, tumor_cells=100)

    assert (reading.value, reading.capped) == (value, capped)
    assert bool(reading.comment) == capped


@pytest.mark.parametrize(("cells", "status"), [(100, "scored"), (99, "indeterminate")])
def test_a_hundred_viable_tumour_cells_are_needed(cells, status):
    for reading in (
        tps(positive_tumor_cells=50, tumor_cells=cells),
        cps(positive_tumor_cells=50, positive_immune_cells=1, tumor_cells=cells),
    ):
        assert reading.status == status
        assert (reading.rule is TOO_FEW) == (reading.value is None) == (cells == 99)


def test_no_tumour_cell_is_indeterminate_not_a_division():
    assert tps(positive_tumor_cells=0, tumor_cells=0).value is None


@given(st.integers(100, 10_000), st.integers(0, 10_000), st.integers(0, 20_000))
def test_cps_is_never_below_tps_and_never_above_one_hundred(cells, positive, immune):
    positive = min(positive, cells)
    share = tps(positive_tumor_cells=positive, tumor_cells=cells).value
    combined = cps(
        positive_tumor_cells=positive, positive_immune_cells=immune, tumor_cells=cells
    ).value

    assert 0 <= share <= combined <= 100


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"positive_tumor_cells": 101, "tumor_cells": 100}, "more than tumor_cells"),
        ({"positive_tumor_cells": -1, "tumor_cells": 100}, "positive_tumor_cells is -1"),
        ({"positive_tumor_cells": 1.5, "tumor_cells": 100}, "not a whole number"),
    ],
)
def test_impossible_counts_are_refused(counts, message):
    with pytest.raises(InputError, match=message):
        tps(**counts)
    with pytest.raises(InputError, match=message):
        cps(**counts, positive_immune_cells=0)
