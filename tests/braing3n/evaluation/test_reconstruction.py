import itertools
import math

import numpy as np
import pytest
import torch

from braing3n.evaluation.reconstruction import brain_mask, mean_volume_psnr, psnr, ssim


def _ball(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """(1, 1, X, Y, Z): noise inside a ball, 0 around it."""
    axes = [torch.linspace(-1, 1, size) for size in shape]
    radius = torch.stack(torch.meshgrid(*axes, indexing="ij")).norm(dim=0)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(radius < 0.8, noise, torch.zeros(()))[None, None]


def test_psnr_of_a_constant_error_has_its_closed_form():
    original = torch.cat([_ball((9, 10, 8), 0), _ball((9, 10, 8), 1)])
    errors = torch.tensor([0.1, 2.0]).view(2, 1, 1, 1, 1)
    expected = torch.tensor([20 * math.log10(10 / 0.1), 20 * math.log10(10 / 2.0)])
    torch.testing.assert_close(psnr(original, original + errors), expected, rtol=1e-4, atol=1e-3)


def test_what_is_painted_outside_the_brain_does_not_count():
    original = _ball((12, 12, 12), 0)
    reconstruction = original + 0.3 * _ball((12, 12, 12), 1)
    painted = torch.where(original == 0, torch.tensor(7.0), reconstruction)
    assert torch.equal(psnr(original, painted), psnr(original, reconstruction))
    assert torch.equal(ssim(original, painted), ssim(original, reconstruction))


def test_an_equal_reconstruction_has_ssim_one_and_infinite_psnr():
    original = _ball((12, 14, 12), 3)
    torch.testing.assert_close(ssim(original, original), torch.ones(1))
    assert psnr(original, original).item() == math.inf


def test_a_volume_is_scored_the_same_alone_and_in_a_batch():
    original = torch.cat([_ball((10, 10, 10), 0), _ball((10, 10, 10), 1)])
    reconstruction = original + 0.5 * torch.roll(original, 1, dims=2)
    for score in (psnr, ssim):
        alone = torch.cat([score(original[i:i + 1], reconstruction[i:i + 1]) for i in range(2)])
        torch.testing.assert_close(score(original, reconstruction), alone)


def _naive_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. (2004), window by window, voxel by voxel."""
    mask = x != 0
    y = np.where(mask, y, 0)
    weights = np.array([math.exp(-0.5 * (i / 1.5) ** 2) for i in range(-5, 6)])
    weights /= weights.sum()
    window = np.einsum("i,j,k->ijk", weights, weights, weights)
    px, py = np.pad(x, 5), np.pad(y, 5)
    values = []
    for i, j, k in itertools.product(*map(range, x.shape)):
        if not mask[i, j, k]:
            continue
        wx, wy = px[i:i + 11, j:j + 11, k:k + 11], py[i:i + 11, j:j + 11, k:k + 11]
        mx, my = (window * wx).sum(), (window * wy).sum()
        vx, vy = (window * (wx - mx) ** 2).sum(), (window * (wy - my) ** 2).sum()
        cov = (window * (wx - mx) * (wy - my)).sum()
        values.append((2 * mx * my + 0.1**2) * (2 * cov + 0.3**2)
                      / ((mx**2 + my**2 + 0.1**2) * (vx + vy + 0.3**2)))
    return float(np.mean(values))


def test_ssim_equals_a_naive_reimplementation():
    original = _ball((8, 9, 7), 5).double()
    reconstruction = 0.7 * original + 0.4 * _ball((8, 9, 7), 6).double()
    expected = _naive_ssim(original[0, 0].numpy(), reconstruction[0, 0].numpy())
    assert ssim(original, reconstruction).item() == pytest.approx(expected, abs=1e-6)


def test_the_mean_volume_scores_as_a_reconstruction_that_is_the_same_for_all():
    original = torch.cat([_ball((8, 8, 8), seed) for seed in range(3)])
    mean = original.mean(dim=(0, 1))
    naive = [10 * math.log10(100 / float((v - mean)[v != 0].square().mean()))
             for v in original[:, 0]]
    assert mean_volume_psnr(original, mean).tolist() == pytest.approx(naive, rel=1e-5)


def test_shapes_that_do_not_fit_and_empty_volumes_are_refused():
    original = _ball((8, 8, 8), 0)
    with pytest.raises(ValueError, match="reconstruction has shape"):
        psnr(original, original[..., :7])
    with pytest.raises(ValueError, match="mean volume has shape"):
        mean_volume_psnr(original, original[0, 0, :7])
    with pytest.raises(ValueError, match="without any brain"):
        brain_mask(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match=r"\(B, 1, X, Y, Z\)"):
        brain_mask(torch.ones(4, 4, 4))
