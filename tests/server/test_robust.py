"""Rules that bear wrong sites, against naive ones on small vectors."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.errors import ProtocolError, RunFailedError
from braing3n.optimizer_plan import MergePlan
from server import robust
from server.merge import ExactMean
from server.robust import RobustMerge

SIZE = 23


@pytest.fixture(autouse=True)
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robust, "_PIECE", 7)


def updates(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"site-{number}": rng.normal(1.0, 0.1, SIZE).astype(np.float32) for number in range(count)}


def merged(folder: Path, given: dict[str, np.ndarray], weights: dict[str, int] | None = None,
           order: list[str] | None = None, **plan: object) -> tuple[np.ndarray, dict[str, str]]:
    merge = RobustMerge(MergePlan(**plan), SIZE, folder)
    for site in order or list(given):
        merge.add(site, given[site], 1 if weights is None else weights[site])
    result, left_out = merge.merge()
    assert result is not None
    return result, left_out


def test_a_plain_mean_is_that_of_the_exact_one(tmp_path: Path) -> None:
    given_, weights = updates(4), {f"site-{number}": number + 1 for number in range(4)}
    exact = ExactMean(SIZE)
    for site, vector in given_.items():
        exact.add(vector, weights[site])
    result, left_out = merged(tmp_path, given_, weights, reject_norm_ratio=100.0)
    assert (result == exact.mean()).all()
    assert left_out == {}


@pytest.mark.parametrize("trim", [1, 2])
def test_a_trimmed_mean_is_that_of_sorted_numbers(tmp_path: Path, trim: int) -> None:
    given_ = updates(7)
    naive = [np.mean(sorted(float(vector[place]) for vector in given_.values())[trim:-trim])
             for place in range(SIZE)]
    result, _ = merged(tmp_path, given_, method="trimmed_mean", trim=trim)
    assert result == pytest.approx(naive, rel=1e-6)


def test_krum_is_the_mean_of_those_with_the_nearest_neighbours(tmp_path: Path) -> None:
    given_ = updates(7, seed=3)
    given_["site-2"] = given_["site-2"] + 5.0
    sites, faulty = list(given_), 2
    scores = {}
    for site in sites:
        distances = sorted(float(np.square(given_[site].astype(float) - given_[other]).sum())
                           for other in sites if other != site)
        scores[site] = sum(distances[: len(sites) - faulty - 2])
    chosen = sorted(sites, key=scores.__getitem__)[: len(sites) - faulty]
    result, left_out = merged(tmp_path, given_, method="krum", faulty=faulty)
    assert result == pytest.approx(np.mean([given_[site] for site in chosen], axis=0), rel=1e-5)
    assert left_out == dict.fromkeys(sorted(set(sites) - set(chosen)), "outlier")
    assert "site-2" in left_out


@pytest.mark.parametrize("plan", [{"method": "trimmed_mean"}, {"method": "krum"},
                                  {"reject_norm_ratio": 3.0}, {"clip_norm_ratio": 1.5}])
def test_one_wrong_site_decides_nothing(tmp_path: Path, plan: dict[str, object]) -> None:
    honest = updates(6)
    wrong = {**honest, "site-5": np.full(SIZE, -1e4, np.float32)}
    middle = np.mean([honest[site] for site in list(honest)[:5]], axis=0)
    result, _ = merged(tmp_path, wrong, **plan)
    assert np.abs(result - middle).max() < 0.5
    plain = ExactMean(SIZE)
    for vector in wrong.values():
        plain.add(vector, 1)
    assert np.abs(plain.mean() - middle).max() > 1000


def test_an_update_that_is_too_long_is_left_out_and_named(tmp_path: Path) -> None:
    given_ = {**updates(4), "loud": np.full(SIZE, 9.0, np.float32)}
    _, left_out = merged(tmp_path, given_, reject_norm_ratio=3.0)
    assert left_out == {"loud": "outlier"}


def test_of_two_updates_none_can_be_told_to_be_odd(tmp_path: Path) -> None:
    given_ = {**updates(1), "loud": np.full(SIZE, 9.0, np.float32)}
    assert merged(tmp_path, given_, reject_norm_ratio=1.1)[1] == {}


@given(order=st.permutations([f"site-{number}" for number in range(6)]),
       method=st.sampled_from(["mean", "trimmed_mean", "krum"]))
def test_who_answers_first_changes_no_bit(tmp_path_factory: pytest.TempPathFactory, order: list[str],
                                          method: str) -> None:
    given_ = updates(6)
    first, _ = merged(tmp_path_factory.mktemp("a"), given_, method=method, clip_norm_ratio=1.0)
    again, _ = merged(tmp_path_factory.mktemp("b"), given_, order=order, method=method,
                      clip_norm_ratio=1.0)
    assert (first == again).all()


@pytest.mark.parametrize(("count", "plan"), [(2, {"method": "trimmed_mean"}), (4, {"method": "krum"})])
def test_too_few_for_a_rule_fail_the_run(tmp_path: Path, count: int, plan: dict[str, object]) -> None:
    with pytest.raises(RunFailedError, match="too few updates"):
        merged(tmp_path, updates(count), **plan)


@pytest.mark.parametrize("vector", [np.zeros(3, np.float32), np.zeros(SIZE),
                                    np.full(SIZE, np.nan, np.float32)])
def test_what_cannot_be_merged_is_refused(tmp_path: Path, vector: np.ndarray) -> None:
    merge = RobustMerge(MergePlan(method="krum"), SIZE, tmp_path)
    with pytest.raises(ProtocolError):
        merge.add("site-a", vector, 1)
    assert merge.merge() == (None, {})
