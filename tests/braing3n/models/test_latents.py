import torch

from braing3n.models.latents import LatentStatistics


def latents(count: int = 15) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    place = torch.randn(4, 2, 3, 2, generator=generator)
    return 5 + place + 3 * torch.randn(count, 4, 2, 3, 2, generator=generator)


def statistics_of(latent: torch.Tensor) -> LatentStatistics:
    return LatentStatistics.from_moments(latent.mean(0), latent.square().mean(0))


def test_moments_give_the_mean_at_every_place_and_one_variance_a_channel() -> None:
    latent = latents()
    statistics = statistics_of(latent)
    torch.testing.assert_close(statistics.mean, latent.mean(0))
    around = (latent - latent.mean(0)).square().mean((0, 2, 3, 4))
    torch.testing.assert_close(statistics.variance, around, rtol=1e-4, atol=1e-4)


def test_normalised_latents_have_mean_0_everywhere_and_variance_1_and_come_back() -> None:
    latent = latents()
    statistics = statistics_of(latent)
    normal = statistics.normalise(latent)
    torch.testing.assert_close(normal.mean(0), torch.zeros(4, 2, 3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.square().mean((0, 2, 3, 4)), torch.ones(4), rtol=1e-4, atol=0)
    torch.testing.assert_close(statistics.restore(normal), latent)


def test_a_channel_that_never_varies_stays_finite() -> None:
    latent = torch.full((3, 1, 2, 2, 2), 0.1)
    statistics = statistics_of(latent)
    assert statistics.normalise(latent).abs().max() < 0.1
    torch.testing.assert_close(statistics.restore(statistics.normalise(latent)), latent)
