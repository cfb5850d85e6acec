import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opacus.accountants.analysis import rdp as opacus_rdp
from scipy.integrate import quad

from braing3n.audit.rdp import ORDERS, divergences, epsilon


def test_a_gaussian_alone_has_its_closed_form() -> None:
    """Mironov 2017, corollary 3: α / (2σ²); and ε by hand, at the best order."""
    assert divergences(1.0, 2.0) == pytest.approx([order / 8 for order in ORDERS])
    by_hand = min(alpha / 8 + math.log1p(-1 / alpha) - (math.log(1e-5) + math.log(alpha)) / (alpha - 1)
                  for alpha in ORDERS)
    assert epsilon([(1.0, 2.0, 1)], 1e-5) == pytest.approx(by_hand, abs=1e-12)


def test_two_of_order_two_are_its_variance() -> None:
    """At α = 2 the divergence is ln(1 + q² (exp(1/σ²) − 1)), exactly."""
    for q, sigma in ((0.01, 1.0), (0.1, 0.7), (0.5, 3.0)):
        found = divergences(q, sigma, (2.0,))[0]
        assert found == pytest.approx(math.log1p(q**2 * math.expm1(1 / sigma**2)), rel=1e-12)


@pytest.mark.parametrize("order", [1.1, 1.5, 2.7, 5.3, 9.9, 4.0])
@pytest.mark.parametrize(("q", "sigma"), [(0.02, 0.6), (0.1, 1.2), (0.4, 3.0)])
def test_it_is_the_integral_of_its_definition(order: float, q: float, sigma: float) -> None:
    def density(z: float, mean: float) -> float:
        return math.exp(-((z - mean) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    def inner(z: float) -> float:
        mixture, plain = (1 - q) * density(z, 0) + q * density(z, 1), density(z, 0)
        return math.exp(order * math.log(mixture) + (1 - order) * math.log(plain))

    value, _ = quad(inner, -12 * sigma, order + 12 * sigma, epsabs=0, epsrel=1e-11, limit=500)
    assert divergences(q, sigma, (order,))[0] == pytest.approx(math.log(value) / (order - 1), rel=1e-7)


@given(st.floats(1e-3, 0.99), st.floats(0.3, 30.0))
def test_it_agrees_with_the_accountant_that_sites_use(q: float, sigma: float) -> None:
    other = np.array(opacus_rdp.compute_rdp(q=q, noise_multiplier=sigma, steps=1, orders=list(ORDERS)))
    assert np.array(divergences(q, sigma)) == pytest.approx(other, rel=1e-6, abs=1e-10)


def test_steps_add_up_and_none_cost_nothing() -> None:
    assert epsilon([], 1e-5) == epsilon([(0.1, 1.0, 0)], 1e-5) == 0.0
    together = epsilon([(0.1, 1.0, 3), (0.2, 2.0, 4)], 1e-5)
    assert together == pytest.approx(epsilon([(0.1, 1.0, 1)] * 3 + [(0.2, 2.0, 1)] * 4, 1e-5))
    assert together > epsilon([(0.1, 1.0, 3)], 1e-5)


@given(st.floats(0.01, 0.9), st.floats(0.4, 10.0), st.integers(1, 500))
def test_more_noise_fewer_draws_and_a_larger_delta_cost_less(
    q: float, sigma: float, count: int
) -> None:
    cost = epsilon([(q, sigma, count)], 1e-5)
    assert epsilon([(q, sigma * 1.1, count)], 1e-5) <= cost
    assert epsilon([(q * 0.9, sigma, count)], 1e-5) <= cost
    assert epsilon([(q, sigma, count)], 1e-4) <= cost


@pytest.mark.parametrize(("steps", "delta"), [
    ([(0.0, 1.0, 1)], 1e-5), ([(1.1, 1.0, 1)], 1e-5), ([(0.1, 0.0, 1)], 1e-5),
    ([(0.1, math.inf, 1)], 1e-5), ([(0.1, 1.0, -1)], 1e-5), ([(0.1, 1.0, 1)], 0.0)])
def test_numbers_out_of_range_are_refused(steps: list[tuple[float, float, int]], delta: float) -> None:
    with pytest.raises(ValueError, match=r"must|cannot|nothing"):
        epsilon(steps, delta)


def test_it_shares_no_code_with_the_package_or_with_other_accountants() -> None:
    import ast
    from pathlib import Path

    from braing3n.audit import rdp

    tree = ast.parse(Path(rdp.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names} | {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"math", "collections.abc", "functools", "numpy", "numpy.typing",
                        "scipy.special"}
