import pytest
import torch

from braing3n.models.latents import LatentStatistics


def test_sums_of_sites_give_the_statistics_of_all_numbers_together() -> None:
    generator = torch.Generator().manual_seed(0)
    sites = [5 + 3 * torch.randn(n, 4, 2, 3, 2, generator=generator) for n in (1, 5, 9)]
    total = sum((s.double().sum((0, 2, 3, 4)) for s in sites), torch.zeros(4))
    squares = sum((s.double().square().sum((0, 2, 3, 4)) for s in sites), torch.zeros(4))
    statistics = LatentStatistics.from_moments(15 * 12, total, squares)
    together = torch.cat(sites)
    torch.testing.assert_close(statistics.mean, together.mean((0, 2, 3, 4)))
    torch.testing.assert_close(statistics.variance, together.var((0, 2, 3, 4), correction=0))
    normal = statistics.normalise(together)
    torch.testing.assert_close(normal.mean((0, 2, 3, 4)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.std((0, 2, 3, 4), correction=0), torch.ones(4))
    torch.testing.assert_close(statistics.restore(normal), together)


def test_a_channel_that_never_varies_stays_finite() -> None:
    statistics = LatentStatistics.from_moments(3, torch.tensor([0.3]), torch.tensor([0.03]))
    latent = torch.full((2, 1, 2, 2, 2), 0.1)
    assert statistics.normalise(latent).abs().max() < 0.1
    torch.testing.assert_close(statistics.restore(statistics.normalise(latent)), latent)


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        LatentStatistics.from_moments(0, torch.zeros(2), torch.zeros(2))
