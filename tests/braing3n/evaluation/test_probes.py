import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from braing3n.errors import CohortError
from braing3n.evaluation import probes
from braing3n.evaluation.probes import probe_binary, thumbnails


def test_separable_classes_have_an_auc_of_one():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = rng.normal(size=(60, 20)) + 8 * labels[:, None]
    result = probe_binary(features, labels, np.arange(60), seed=0, num_shuffles=1)
    assert (result.auc, result.auc_low, result.auc_high, result.num) == (1.0, 1.0, 1.0, 60)


def test_random_labels_score_about_one_half_over_seeds():
    aucs = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        result = probe_binary(rng.normal(size=(60, 15)), rng.permutation(np.arange(60) % 2),
                              np.arange(60), seed=seed, num_shuffles=1)
        assert result.auc_low < result.auc < result.auc_high
        aucs.append(result.auc)
    # A random ranking of 30 against 30 has sd sqrt(61 / (12 · 30 · 30)) = 0.075.
    assert abs(np.mean(aucs) - 0.5) < 3 * 0.075 / math.sqrt(6)


def test_features_that_only_identify_the_subject_do_not_score():
    aucs = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        subjects = np.repeat(np.arange(30), 4)
        labels = rng.permutation(np.arange(30) % 2)[subjects]
        fingerprints = rng.normal(size=(30, 40))[subjects]
        aucs.append(probe_binary(fingerprints, labels, subjects, seed=seed,
                                 num_shuffles=1).auc)
        # The same features with scans taken for subjects leak; so this test could fail.
        if seed == 0:
            assert probe_binary(fingerprints, labels, np.arange(120), seed=seed,
                                num_shuffles=1).auc > 0.95
    sd = math.sqrt(31 / (12 * 15 * 15))
    assert abs(np.mean(aucs) - 0.5) < 3 * sd / math.sqrt(4)


def test_a_known_effect_has_its_closed_form_auc():
    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2
    signal = rng.normal(size=400) + 1.5 * labels
    features = np.column_stack([signal, rng.normal(size=(400, 3))])
    result = probe_binary(features, labels, np.arange(400), seed=0, num_shuffles=1)
    binormal = 0.5 * (1 + math.erf(1.5 / 2))  # Φ(d / √2) with Φ(x) = (1 + erf(x / √2)) / 2
    assert result.auc == pytest.approx(binormal, abs=0.04)
    assert result.auc_low < binormal < result.auc_high
    assert 0.03 < result.auc_high - result.auc_low < 0.1


def test_pairs_won_are_the_auc_that_scikit_learn_gives():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.integers(0, 8, 50).astype(float)
    assert probes._wins(scores, labels).mean() == pytest.approx(roc_auc_score(labels, scores))


def test_the_interval_is_wider_when_scans_belong_to_fewer_subjects():
    rng = np.random.default_rng(1)
    subjects = np.repeat(np.arange(40), 5)
    labels = (np.arange(40) % 2)[subjects]
    wins = probes._wins((rng.normal(size=40) + labels[::5])[subjects], labels)
    grouped = probes._interval(wins, labels, subjects, np.random.default_rng(0))
    single = probes._interval(wins, labels, np.arange(200), np.random.default_rng(0))
    assert np.ptp(grouped) > 1.7 * np.ptp(single)  # √5 for whole repetition


def test_the_same_seed_gives_the_same_figures():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 5)), np.arange(40) % 2
    first = probe_binary(features, labels, np.arange(40), seed=7, num_shuffles=1)
    assert first == probe_binary(features, labels, np.arange(40), seed=7, num_shuffles=1)


def test_a_class_with_too_few_subjects_is_told_in_words():
    labels = (np.arange(40) < 9).astype(int)
    with pytest.raises(CohortError, match="at least 10 subjects of each class"):
        probe_binary(np.ones((40, 2)), labels, np.arange(40), seed=0)


@pytest.mark.parametrize(("features", "labels", "match"), [
    (np.ones((3, 2)), np.zeros(4), "one row a scan"),
    (np.full((4, 2), np.nan), np.zeros(4), "finite"),
    (np.ones((4, 2)), np.full(4, 2), "0 and 1"),
])
def test_arrays_that_cannot_be_probed_are_refused(features, labels, match):
    with pytest.raises(ValueError, match=match):
        probe_binary(features, labels, np.arange(4), seed=0)


def test_thumbnails_keep_a_constant_and_put_a_blob_where_it_was():
    volumes = torch.zeros(2, 1, 40, 48, 40)
    volumes[0] = 3.0
    volumes[1, 0, 28:33, 10:14, 18:22] = 1.0
    small = thumbnails(volumes)
    assert small.shape == (2, 16 * 20 * 16)
    assert small[0].view(16, 20, 16)[5:-5, 5:-5, 5:-5].allclose(torch.tensor(3.0), atol=1e-3)
    brightest = np.unravel_index(int(small[1].argmax()), (16, 20, 16))
    assert brightest in ((12, 4, 7), (12, 4, 8))
