import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from braing3n.errors import ProtocolError
from braing3n.evaluation.fits.linear_fits import LinearModel
from braing3n.evaluation.fits.moments import moments_of
from braing3n.evaluation.fits.newton import Terms
from braing3n.evaluation.probe_wire import (
    Numbers,
    joined,
    pack_cells,
    pack_model,
    pack_terms,
    size_of_terms,
    unpack_cells,
    unpack_model,
    unpack_terms,
)
from braing3n.evaluation.site_statistics import Cell
from braing3n.probe_messages import CellReport

numbers = st.floats(-1e20, 1e20)
names = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3, unique=True)


@given(names, st.integers(1, 4), st.sampled_from(["ridge", "lda", "logistic", "cox"]), st.data())
def test_cells_arrive_as_they_were_sent_bit_for_bit(classes, width, method, data):
    rows = npst.arrays(np.float64, (6, width), elements=st.floats(-1e9, 1e9))
    cells = {name: Cell(moments_of(data.draw(rows)), 5, 2) for name in classes}
    reports = {name: CellReport(num=6, num_subjects=5, num_events=2) for name in classes}
    array = Numbers(pack_cells(cells, method))
    found = unpack_cells(reports, method, width, array)
    array.end()
    assert list(found) == classes
    for name, cell in cells.items():
        assert (found[name].num_subjects, found[name].num_events) == (5, 2)
        np.testing.assert_array_equal(found[name].moments.mean, cell.moments.mean)
        whole = cell.moments.scatter
        np.testing.assert_array_equal(
            found[name].moments.scatter,
            whole if method in {"ridge", "lda"} else np.diag(np.diag(whole)))


@given(st.integers(1, 5), st.booleans(), st.data())
def test_terms_arrive_as_they_were_sent(width, has_derivatives, data):
    vector = npst.arrays(np.float64, width, elements=numbers)
    half = data.draw(npst.arrays(np.float64, (width, width), elements=st.floats(-1e9, 1e9)))
    terms = Terms(data.draw(numbers), data.draw(vector), half + half.T)
    packed = pack_terms(terms, has_derivatives=has_derivatives)
    assert len(packed) == size_of_terms(width, has_derivatives=has_derivatives)
    found = unpack_terms(width, Numbers(packed), has_derivatives=has_derivatives)
    assert found.loss == terms.loss
    if has_derivatives:
        np.testing.assert_array_equal(found.gradient, terms.gradient)
        np.testing.assert_array_equal(found.hessian, terms.hessian)


@given(st.integers(1, 5), st.integers(1, 3), st.data())
def test_a_model_arrives_as_it_was_sent(width, columns, data):
    model = LinearModel(data.draw(npst.arrays(np.float64, (width, columns), elements=numbers)),
                        data.draw(npst.arrays(np.float64, columns, elements=numbers)))
    found = unpack_model(width, columns, Numbers(pack_model(model)))
    np.testing.assert_array_equal(found.weights, model.weights)
    np.testing.assert_array_equal(found.intercepts, model.intercepts)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e200])
def test_a_number_that_cannot_be_summed_is_refused(odd):
    with pytest.raises(ProtocolError):
        Numbers(np.array([1.0, odd]))


def test_too_few_and_too_many_numbers_are_refused():
    few = Numbers(np.ones(3))
    few.take(2)
    with pytest.raises(ProtocolError, match="do not fit"):
        few.end()
    with pytest.raises(ProtocolError, match="do not fit"):
        few.take(2)


def test_a_negative_variance_is_refused():
    with pytest.raises(ProtocolError):
        unpack_cells({"all": CellReport(num=6, num_subjects=5)}, "cox", 1,
                     Numbers(np.array([0.0, -1.0])))


def test_nothing_is_joined_to_nothing():
    assert len(joined([])) == 0
