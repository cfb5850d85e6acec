from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from braing3n.models.decoder import LatentDecoder, structural_similarity
from braing3n.presets import PRESETS, Preset, PresetName

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batch_for(preset: Preset, count: int, seed: int = 0) -> Batch:
    """Tokens, volume, noise and sigma."""
    generator = torch.Generator().manual_seed(seed)
    volume = torch.randn(count, 1, *preset.shape, generator=generator)
    volume[:, :, :3] = 0
    tokens = torch.randn(count, preset.num_patches, preset.encoder.width, generator=generator)
    noise = torch.randn(count, preset.latent_channels, *preset.grid, generator=generator)
    return tokens, volume, noise, torch.rand(count, generator=generator)


def test_a_latent_lies_where_its_patch_lies(tiny: Preset) -> None:
    decoder = LatentDecoder(tiny)
    tokens = batch_for(tiny, 2)[0]
    latent = decoder.project(tokens)
    assert latent.shape == (2, 4, 2, 3, 2)
    number = 1 * 6 + 2 * 2 + 1  # patch (1, 2, 1) of a (2, 3, 2) grid, Z fastest
    alone = decoder.projection((tokens[1, number] - tokens[1, number].mean())
                               / (tokens[1, number].var(correction=0) + 1e-5).sqrt())
    torch.testing.assert_close(latent[1, :, 1, 2, 1], alone)


def test_without_noise_the_loss_is_the_weighted_error_by_hand(tiny: Preset) -> None:
    decoder = LatentDecoder(tiny, structure_weight=0.5)
    tokens, volume, noise, sigma = batch_for(tiny, 2)
    decoded = decoder.decode(decoder.project(tokens))
    weight = (volume != 0) + 0.1 * (volume == 0)
    error = (weight * (decoded - volume).abs()).sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4))
    ssim = structural_similarity(decoded, volume, weight)
    torch.testing.assert_close(decoder(tokens, volume, noise, 0 * sigma), error + (1 - ssim) / 2)


def test_noise_grows_with_the_latent_that_it_hides(tiny: Preset) -> None:
    decoder = LatentDecoder(tiny)
    seen: list[Tensor] = []
    decoder.cnn.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens, volume, noise, sigma = batch_for(tiny, 2)
    for factor in (1, 10):
        with torch.no_grad():
            decoder.projection.weight *= factor
        decoder(tokens, volume, noise, sigma)
        clean = decoder.project(tokens)
        unit = (seen[-1] - clean) / clean.std(dim=(2, 3, 4), keepdim=True)
        torch.testing.assert_close(unit, sigma.view(-1, 1, 1, 1, 1) * noise, atol=1e-4, rtol=1e-3)


def test_a_volume_changes_its_own_loss_alone(tiny: Preset) -> None:
    decoder = LatentDecoder(tiny)
    tokens, volume, noise, sigma = batch_for(tiny, 3)
    other_tokens, other_volume = tokens.clone(), volume.clone()
    other_tokens[1], other_volume[1] = torch.randn_like(tokens[1]), 2 * volume[1]
    change = (decoder(other_tokens, other_volume, noise, sigma)
              - decoder(tokens, volume, noise, sigma)).abs()
    assert change[1] > 1e-3
    assert change[[0, 2]].max() < 1e-6


def test_a_gradient_reaches_every_parameter(
    tiny: Preset, stir: Callable[[nn.Module], None]
) -> None:
    decoder = LatentDecoder(tiny)
    stir(decoder)
    decoder(*batch_for(tiny, 4)).mean().backward()
    silent = [n for n, w in decoder.named_parameters() if w.grad is None or not w.grad.any()]
    assert silent == []


def test_only_learnt_tensors_are_in_the_state_dict(tiny: Preset) -> None:
    decoder = LatentDecoder(tiny)
    assert set(decoder.state_dict()) == {name for name, _ in decoder.named_parameters()}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name: PresetName) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        decoder = LatentDecoder(preset)
        batch = [torch.empty(part.shape) for part in (
            torch.empty(2, preset.num_patches, preset.encoder.width),
            torch.empty(2, 1, *preset.shape),
            torch.empty(2, preset.latent_channels, *preset.grid), torch.empty(2),
        )]
        assert decoder(*batch).shape == (2,)
        assert decoder.decode(decoder.project(batch[0])).shape == (2, 1, *preset.shape)


def test_ssim_is_the_published_formula_over_windows() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 2, 1, 8, 6, 4, generator=generator).double()
    weight = torch.rand(2, 1, 8, 6, 4, generator=generator).double()
    c1, c2 = 0.1**2, 0.3**2
    for row in range(2):
        scores, weights = [], []
        for x in (0, 2, 4):
            for y in (0, 2):
                window = (row, 0, slice(x, x + 4), slice(y, y + 4), slice(0, 4))
                a, b = first[window].flatten(), second[window].flatten()
                covariance = ((a - a.mean()) * (b - b.mean())).mean()
                scores.append((2 * a.mean() * b.mean() + c1) * (2 * covariance + c2)
                              / (a.mean() ** 2 + b.mean() ** 2 + c1)
                              / (a.var(correction=0) + b.var(correction=0) + c2))
                weights.append(weight[window].mean())
        expected = (torch.stack(scores) * torch.stack(weights)).sum() / sum(weights)
        found = structural_similarity(first, second, weight)[row]
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_ssim_of_a_volume_with_itself_is_one() -> None:
    volume = 5 * torch.randn(3, 1, 8, 8, 8)
    ones = torch.ones(3)
    torch.testing.assert_close(
        structural_similarity(volume, volume, torch.ones_like(volume)), ones, atol=1e-4, rtol=0
    )


def test_a_volume_and_its_gradient_are_the_same_alone_and_in_a_batch(tiny: Preset) -> None:
    torch.manual_seed(0)
    decoder = LatentDecoder(tiny)
    latents = torch.randn(3, tiny.latent_channels, *tiny.grid)
    gradients = []
    for given in (latents, latents[:1]):
        chosen = given.clone().requires_grad_()
        decoder.zero_grad()
        volumes = decoder.decode(chosen)
        assert len(volumes) == len(chosen)
        volumes[0].square().sum().backward()
        weights = torch.cat([p.grad.flatten() for p in decoder.cnn.parameters() if p.grad is not None])
        gradients.append((volumes[0].detach(), chosen.grad[0], weights))
    for batch, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, batch, rtol=1e-4, atol=1e-5)
