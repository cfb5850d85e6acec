"""Newton's method on a loss that sites sum: they send gradient and Hessian, never volumes."""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass

import numpy as np

from braing3n.errors import DivergedError
from braing3n.evaluation.fits.moments import Floats

# The decrease that a step promises, as a share of the loss, below which there is nothing to gain.
_TOLERANCE = 1e-15
_MOST_STEPS = 100
# A step is halved until the loss falls by this share of what its slope promises.
_ENOUGH = 1e-4
_MOST_HALVINGS = 40


@dataclass(frozen=True)
class Terms:
    """A loss and its derivatives at some coefficients: one site's part, or the sum of all.

    Attributes:
        loss: The sum over volumes.
        gradient: (c,).
        hessian: (c, c).
    """

    loss: float
    gradient: Floats
    hessian: Floats


# The sum over all sites at some coefficients: what one exchange with them gives.
Exchange = Callable[[Floats], Terms]

# Gives coefficients at which it wants that sum, is sent it, and returns those of the least loss.
Minimisation = Generator[Floats, Terms, Floats]


def sum_terms(parts: Iterable[Terms]) -> Terms:
    """Return the sum of the sites' parts, of which there is at least one."""
    known = list(parts)
    return Terms(sum(part.loss for part in known),
                 np.sum([part.gradient for part in known], axis=0),
                 np.sum([part.hessian for part in known], axis=0))


def minimise(exchange: Exchange, penalties: Floats, start: Floats) -> Floats:
    """Return the coefficients of the least loss + ½ Σ penalty · coefficient²; see `minimisation`.

    Args:
        exchange: The sum of the sites' terms at some coefficients; convex.
        penalties: (c,) one for each coefficient, 0 for one that is free.
        start: (c,).

    Raises:
        DivergedError: The loss is not finite, or 100 steps were not enough.
    """
    solving = minimisation(penalties, start)
    asked = next(solving)
    while True:
        try:
            asked = solving.send(exchange(asked))
        except StopIteration as end:
            found: Floats = end.value
            return found


def minimisation(penalties: Floats, start: Floats) -> Minimisation:
    """Minimise loss + ½ Σ penalty · coefficient², driven by whoever can ask the sites.

    Steps are damped by halving (Armijo's rule), so that a convex loss is minimised from any start.

    Args:
        penalties: (c,) one for each coefficient, 0 for one that is free.
        start: (c,).

    Yields:
        (c,) coefficients at which the sum of the sites' terms is to be sent.

    Returns:
        The coefficients of the least loss.

    Raises:
        DivergedError: The loss is not finite, or 100 steps were not enough.
    """
    coefficients = np.array(start, dtype=np.float64)
    here = _penalised((yield coefficients), penalties, coefficients)
    for _ in range(_MOST_STEPS):
        if not np.isfinite(here.loss):
            raise _diverged("a loss that is not finite")
        step = np.linalg.lstsq(here.hessian, -here.gradient)[0] if not _is_definite(here) else \
            np.linalg.solve(here.hessian, -here.gradient)
        slope = float(here.gradient @ step)
        if -slope <= _TOLERANCE * (1 + abs(here.loss)):
            return coefficients + step
        share = 1.0
        for _ in range(_MOST_HALVINGS):
            tried = coefficients + share * step
            there = _penalised((yield tried), penalties, tried)
            if there.loss <= here.loss + _ENOUGH * share * slope:
                break
            share /= 2
        else:
            # No smaller loss can be told from this one in float64.
            return coefficients
        coefficients, here = coefficients + share * step, there
    raise _diverged(f"a loss that still falls after {_MOST_STEPS} steps")


def _penalised(terms: Terms, penalties: Floats, coefficients: Floats) -> Terms:
    return Terms(terms.loss + 0.5 * float(penalties @ coefficients**2),
                 terms.gradient + penalties * coefficients, terms.hessian + np.diag(penalties))


def _is_definite(terms: Terms) -> bool:
    try:
        np.linalg.cholesky(terms.hessian)
    except np.linalg.LinAlgError:
        return False
    return True


def _diverged(found: str) -> DivergedError:
    return DivergedError("a probe cannot be fitted", expected="a loss with a minimum", found=found,
                         fix="use stronger shrinkage, or look for features that are not finite")
