"""How sums and models of probes travel: one behind the other, in one flat float64 array."""

from collections.abc import Iterable, Mapping

import numpy as np

from braing3n.config import Method
from braing3n.errors import ProtocolError
from braing3n.evaluation.fits.linear_fits import LinearModel
from braing3n.evaluation.fits.moments import Floats, Moments, pack_symmetric, unpack_symmetric
from braing3n.evaluation.fits.newton import Terms
from braing3n.evaluation.site_statistics import Cell
from braing3n.probe_messages import CellReport

_LARGEST = 1e60


class Numbers:
    """A flat array that came in a message, taken from the front piece by piece.

    Args:
        array: (n,), from the other side.

    Raises:
        ProtocolError: A number is NaN, infinite, or so large that products would be.
    """

    def __init__(self, array: Floats) -> None:
        if not (np.abs(array) < _LARGEST).all():
            raise _unfit(f"numbers below {_LARGEST}", "others")
        self._array = array
        self._place = 0

    def take(self, count: int) -> Floats:
        """Return the next `count` numbers.

        Raises:
            ProtocolError: There are not so many.
        """
        piece = self._array[self._place : self._place + count]
        if len(piece) < count:
            raise _unfit(f"{count} numbers more", f"{len(piece)}")
        self._place += count
        return piece

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            ProtocolError: Something is.
        """
        if self._place < len(self._array):
            raise _unfit("as many numbers as the message announces",
                         f"{len(self._array) - self._place} more")


def joined(parts: Iterable[Floats]) -> Floats:
    """Return all parts behind each other, float64."""
    flat = [np.asarray(part, dtype=np.float64).reshape(-1) for part in parts]
    return np.concatenate(flat) if flat else np.zeros(0)


def needs_scatter(method: Method) -> bool:
    """Tell whether a fit needs all of the scatter; else variances alone leave a site."""
    return method in {"ridge", "lda"}


def pack_cells(cells: Mapping[str, Cell], method: Method) -> Floats:
    """Return each cell's mean and scatter, or the scatter's diagonal."""
    whole = needs_scatter(method)
    return joined(part for moments in (cell.moments for cell in cells.values()) for part in (
        moments.mean, pack_symmetric(moments.scatter) if whole else np.diag(moments.scatter)))


def unpack_cells(reports: Mapping[str, CellReport], method: Method, width: int,
                 numbers: Numbers) -> dict[str, Cell]:
    """Return what `pack_cells` gave; where it left out covariances, they are 0.

    Args:
        reports: What is announced of each cell.
        method: How the task is fitted.
        width: c, of the features and the target behind them, if there is one.
        numbers: Where the cells come next.

    Raises:
        ProtocolError: Numbers are lacking, or a variance is negative.
    """
    cells = {}
    for name, report in reports.items():
        mean = numbers.take(width)
        if needs_scatter(method):
            scatter = unpack_symmetric(numbers.take(width * (width + 1) // 2))
        else:
            scatter = np.diag(numbers.take(width))
        if (np.diag(scatter) < 0).any():
            raise _unfit("sums of squares of 0 and more", "a negative one")
        cells[name] = Cell(Moments(float(report.num), mean, scatter), report.num_subjects,
                           report.num_events)
    return cells


def size_of_terms(width: int, *, has_derivatives: bool) -> int:
    """Return how many numbers the terms of c coefficients are."""
    return 1 + (width + width * (width + 1) // 2 if has_derivatives else 0)


def pack_terms(terms: Terms, *, has_derivatives: bool) -> Floats:
    """Return a loss, and behind it gradient and Hessian where they were asked for."""
    parts = [np.array([terms.loss])]
    if has_derivatives:
        parts += [terms.gradient, pack_symmetric(terms.hessian)]
    return joined(parts)


def unpack_terms(width: int, numbers: Numbers, *, has_derivatives: bool) -> Terms:
    """Return what `pack_terms` gave; without derivatives they are 0.

    Raises:
        ProtocolError: Numbers are lacking.
    """
    loss = float(numbers.take(1)[0])
    if not has_derivatives:
        return Terms(loss, np.zeros(width), np.zeros((width, width)))
    gradient = numbers.take(width)
    return Terms(loss, gradient, unpack_symmetric(numbers.take(width * (width + 1) // 2)))


def pack_model(model: LinearModel) -> Floats:
    """Return weights and intercepts."""
    return joined([model.weights, model.intercepts])


def unpack_model(width: int, num_columns: int, numbers: Numbers) -> LinearModel:
    """Return what `pack_model` gave.

    Raises:
        ProtocolError: Numbers are lacking.
    """
    weights = numbers.take(width * num_columns).reshape(width, num_columns)
    return LinearModel(weights, numbers.take(num_columns))


def _unfit(expected: str, found: str) -> ProtocolError:
    return ProtocolError("the numbers of a probe do not fit its message", expected=expected,
                         found=found, fix="run the same software version on both sides")
