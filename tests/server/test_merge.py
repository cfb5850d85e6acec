import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from braing3n.errors import ProtocolError
from braing3n.optimizer_plan import ServerOptimizerPlan
from server.merge import AveragedWeights, ExactMean, ServerOptimizer


def draw(seed: int, count: int, size: int) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    weights = [int(weight) for weight in random.integers(1, 500, count)]
    return random.normal(size=(count, size)).astype(np.float32), weights


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.permutations(range(6)))
def test_the_mean_has_the_same_bits_in_any_order(seed: int, order: list[int]) -> None:
    vectors, weights = draw(seed, 6, 300)
    straight, shuffled = ExactMean(300), ExactMean(300)
    for index in range(6):
        straight.add(vectors[index], weights[index])
    for index in order:
        shuffled.add(vectors[index], weights[index])
    assert straight.mean().tobytes() == shuffled.mean().tobytes()


def test_the_mean_is_the_weighted_mean() -> None:
    vectors, weights = draw(0, 7, 1000)
    merged = ExactMean(1000)
    for vector, weight in zip(vectors, weights, strict=True):
        merged.add(vector, weight)
    naive = np.average(vectors.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(merged.mean(), naive, rtol=1e-6, atol=1e-9)
    assert merged.weight == sum(weights)


@pytest.mark.parametrize(("vector", "weight"), [
    (np.array([1, np.nan], np.float32), 1), (np.array([np.inf, 0], np.float32), 1),
    (np.zeros(3, np.float32), 1), (np.zeros(2, np.float64), 1), (np.zeros(2, np.float32), 0),
    (np.zeros(2, np.float32), -4), (np.array([1e30, 0], np.float32), 1),
])
def test_a_bad_reply_is_refused_and_changes_nothing(vector: np.ndarray, weight: int) -> None:
    merged = ExactMean(2)
    merged.add(np.array([1, 2], np.float32), 3)
    with pytest.raises(ProtocolError):
        merged.add(vector, weight)
    assert merged.mean().tolist() == [1, 2]
    assert merged.weight == 3


def test_a_sum_that_could_overflow_is_refused_before_it_does() -> None:
    merged = ExactMean(1)
    large = np.array([2.0**28], np.float32)
    for _ in range(7):
        merged.add(large, 1)
    with pytest.raises(ProtocolError):
        merged.add(large, 1)
    assert merged.mean().tolist() == [2.0**28]


def test_a_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ProtocolError):
        ExactMean(2).mean()


def updates(count: int = 5) -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.normal(size=4).astype(np.float32) for _ in range(count)]


def test_fedavg_adds_the_mean_update() -> None:
    optimizer = ServerOptimizer(ServerOptimizerPlan(name="fedavg", learning_rate=0.5))
    assert optimizer.step(np.ones(2, np.float32), np.array([2, -2], np.float32)).tolist() == [2, 0]
    assert optimizer.slots == {}


def test_fedavgm_is_torchs_nesterov_sgd_on_the_negative_update() -> None:
    plan = ServerOptimizerPlan(name="fedavgm", learning_rate=0.7, momentum=0.9)
    optimizer = ServerOptimizer(plan)
    weights = np.zeros(4, np.float32)
    reference = torch.zeros(4, requires_grad=True)
    sgd = torch.optim.SGD([reference], lr=0.7, momentum=0.9, nesterov=True)
    for update in updates():
        weights = optimizer.step(weights, update)
        reference.grad = -torch.from_numpy(update)
        sgd.step()
    np.testing.assert_allclose(weights, reference.detach().numpy(), rtol=1e-5)


def test_fedadam_follows_reddi_et_al() -> None:
    plan = ServerOptimizerPlan(name="fedadam", learning_rate=0.1, momentum=0.9, second_decay=0.99,
                               tau=1e-3)
    optimizer = ServerOptimizer(plan)
    weights, naive = np.zeros(4, np.float32), np.zeros(4)
    first, second = np.zeros(4), np.full(4, 1e-6)  # the second begins at tau squared
    for update in updates():
        weights = optimizer.step(weights, update)
        first = 0.9 * first + 0.1 * update
        second = 0.99 * second + 0.01 * update.astype(np.float64) ** 2
        naive = naive + 0.1 * first / (np.sqrt(second) + 1e-3)
    np.testing.assert_allclose(weights, naive, rtol=1e-4)


def test_the_average_of_constant_weights_is_those_weights_from_the_first_round() -> None:
    average = AveragedWeights(decay=0.8)
    for _ in range(4):
        average.add(np.full(3, 5, np.float32))
        np.testing.assert_allclose(average.mean(), 5, rtol=1e-6)


def test_the_average_weighs_rounds_by_powers_of_the_decay() -> None:
    average = AveragedWeights(decay=0.5)
    for value in (1.0, 2.0, 4.0):
        average.add(np.array([value], np.float32))
    assert average.mean()[0] == pytest.approx((0.25 * 1 + 0.5 * 2 + 1 * 4) / 1.75)
