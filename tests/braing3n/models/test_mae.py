from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from braing3n.models.mae import (
    Encoder,
    MaskedAutoencoder,
    choose_visible,
    patchify,
    take,
    unpatchify,
)
from braing3n.presets import PRESETS, Preset, PresetName


def brains(preset: Preset, count: int, seed: int = 0) -> Tensor:
    """Noise in a box, with background of exactly 0 around it."""
    volume = torch.randn(count, 1, *preset.shape, generator=torch.Generator().manual_seed(seed))
    volume[:, :, :3], volume[..., -2:] = 0, 0
    return volume


def noise_for(preset: Preset, count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, preset.num_patches, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2), st.tuples(*[st.integers(1, 3)] * 3), st.integers(1, 5))
def test_patches_put_back_together_are_the_volume(
    count: int, grid: tuple[int, int, int], patch: int
) -> None:
    volume = torch.rand(count, 1, *(n * patch for n in grid))
    patches = patchify(volume, patch)
    assert patches.shape == (count, np.prod(grid), patch**3)
    assert torch.equal(unpatchify(patches, grid), volume)


def test_a_patch_is_one_cube_of_the_volume() -> None:
    volume = torch.rand(2, 1, 4, 6, 8)
    patches = patchify(volume, 2).view(2, 2, 3, 4, 2, 2, 2)
    assert torch.equal(patches[1, 1, 2, 3], volume[1, 0, 2:4, 4:6, 6:8])


def test_a_volume_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="patches of 4 do not divide"):
        patchify(torch.zeros(1, 1, 8, 8, 9), 4)


def test_the_smallest_noise_stays_visible() -> None:
    keep, hide = choose_visible(torch.tensor([[0.4, 0.1, 0.9, 0.2], [0.3, 0.8, 0.1, 0.7]]), 0.5)
    assert keep.tolist() == [[1, 3], [2, 0]]
    assert hide.tolist() == [[0, 2], [3, 1]]


@pytest.mark.parametrize(("ratio", "visible"), [(0.7, 45), (0.999, 1), (0.001, 149)])
def test_at_least_one_patch_is_visible_and_one_hidden(ratio: float, visible: int) -> None:
    keep, hide = choose_visible(torch.rand(2, 150), ratio)
    assert (keep.shape, hide.shape) == ((2, visible), (2, 150 - visible))


def test_the_patch_embedding_is_a_convolution_with_the_patch_as_stride(tiny: Preset) -> None:
    encoder = Encoder(tiny)
    volume = brains(tiny, 2)
    weight = encoder.patch_embedding.weight.view(-1, 1, *[tiny.patch] * 3)
    strided = nn.functional.conv3d(
        volume, weight, encoder.patch_embedding.bias, stride=tiny.patch
    ).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.patch_embedding(encoder.cut(volume)), strided)


def test_the_encoder_sees_nothing_of_hidden_patches(tiny: Preset) -> None:
    encoder = Encoder(tiny)
    volume = brains(tiny, 2)
    keep, hide = choose_visible(noise_for(tiny, 2), 0.5)
    patches = patchify(volume, tiny.patch)
    index = hide.unsqueeze(2).expand(-1, -1, tiny.patch**3)
    other = unpatchify(patches.scatter(1, index, 9.0), tiny.grid)
    assert torch.equal(encoder(volume, keep), encoder(other, keep))
    assert encoder(volume, keep).shape == (2, 6, 24)


def test_tokens_come_in_the_order_asked_for(tiny: Preset) -> None:
    encoder = Encoder(tiny)
    volume = brains(tiny, 2)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3)).expand(2, -1)
    torch.testing.assert_close(encoder(volume, order), take(encoder(volume), order))


def test_an_embedding_is_the_mean_token_and_the_cls_token(tiny: Preset) -> None:
    encoder = Encoder(tiny)
    volume = brains(tiny, 3)
    embedding = encoder.embed(volume)
    assert embedding.shape == (3, 48)
    torch.testing.assert_close(embedding[:, :24], encoder(volume).mean(dim=1))
    assert not torch.allclose(embedding[:, 24:], embedding[:, :24])


def test_a_volume_of_another_shape_is_refused_with_both_shapes(tiny: Preset) -> None:
    with pytest.raises(ValueError, match=r"\(8, 12, 8\) voxels, not \(1, 1, 8, 8, 12\)"):
        Encoder(tiny)(torch.zeros(1, 1, 8, 8, 12))


@pytest.mark.parametrize("target", ["voxels", "normalized"])
@pytest.mark.parametrize("brain_weight", [0.0, 0.3, 1.0])
def test_the_trivial_loss_is_the_error_of_zero_by_hand(
    tiny: Preset, target: str, brain_weight: float
) -> None:
    mae = MaskedAutoencoder(tiny, 0.5, target, brain_weight)  # type: ignore[arg-type]
    volume, noise = brains(tiny, 2), noise_for(tiny, 2)
    by_hand = []
    for row in range(2):
        errors, weights = [], []
        for patch in np.argsort(noise[row].numpy())[6:]:
            voxels = patchify(volume, tiny.patch)[row, patch].numpy()
            weights.append(1 - brain_weight + brain_weight * np.mean(voxels != 0))
            if target == "normalized":
                voxels = (voxels - voxels.mean()) / np.sqrt(voxels.var(ddof=1) + 1e-6)
            errors.append(np.abs(voxels).mean())
        by_hand.append(np.average(errors, weights=weights))
    torch.testing.assert_close(mae.trivial_loss(volume, noise), torch.tensor(by_hand).float())


def test_a_network_that_predicts_zero_scores_the_trivial_loss(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny)
    nn.init.zeros_(mae.head.weight)
    volume, noise = brains(tiny, 3), noise_for(tiny, 3)
    torch.testing.assert_close(mae(volume, noise), mae.trivial_loss(volume, noise))


def test_the_loss_is_the_error_of_what_reconstruct_shows(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny, brain_weight=0.0)
    volume, noise = brains(tiny, 2), noise_for(tiny, 2)
    filled, hidden = mae.reconstruct(volume, noise)
    error = (patchify(filled - volume, tiny.patch)).abs().mean(dim=2)       # (B, N)
    assert (error[~hidden] == 0).all()
    torch.testing.assert_close((error * hidden).sum(dim=1) / hidden.sum(dim=1), mae(volume, noise))


def test_normalized_predictions_are_shown_with_the_true_mean_and_deviation(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny, target="normalized")
    nn.init.zeros_(mae.head.weight)
    volume, noise = 100 + brains(tiny, 1), noise_for(tiny, 1)
    filled, hidden = mae.reconstruct(volume, noise)
    shown, true = (patchify(v, tiny.patch)[hidden] for v in (filled, volume))
    torch.testing.assert_close(shown, true.mean(dim=1, keepdim=True).expand_as(shown))


def test_a_volume_without_brain_has_a_finite_loss_and_gradient(tiny: Preset) -> None:
    for target in ("voxels", "normalized"):
        mae = MaskedAutoencoder(tiny, target=target)
        loss = mae(torch.zeros(2, 1, *tiny.shape), noise_for(tiny, 2))
        loss.sum().backward()
        assert loss.tolist() == [0, 0]
        assert all(w.grad is not None and w.grad.isfinite().all() for w in mae.parameters())


def test_a_volume_changes_its_own_loss_alone(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny)
    volume, noise = brains(tiny, 3), noise_for(tiny, 3)
    other = volume.clone()
    other[1] *= 2
    change = (mae(other, noise) - mae(volume, noise)).abs()
    assert change[1] > 1e-3
    assert change[[0, 2]].max() < 1e-6


def test_the_noise_alone_decides_what_is_hidden(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny)
    volume, noise = brains(tiny, 2), noise_for(tiny, 2)
    assert torch.equal(mae(volume, noise), mae(volume, noise))
    assert not torch.equal(mae(volume, noise), mae(volume, noise_for(tiny, 2, seed=5)))
    assert torch.equal(mae.reconstruct(volume, noise)[1], noise > noise.sort().values[:, 3:4])


def test_a_gradient_reaches_every_parameter(
    tiny: Preset, stir: Callable[[nn.Module], None]
) -> None:
    mae = MaskedAutoencoder(tiny)
    stir(mae)
    mae(brains(tiny, 4), noise_for(tiny, 4)).mean().backward()
    silent = [n for n, w in mae.named_parameters() if w.grad is None or not w.grad.any()]
    assert silent == []


def test_training_beats_the_trivial_loss(tiny: Preset) -> None:
    torch.manual_seed(0)
    mae = MaskedAutoencoder(tiny, 0.5)
    volume = brains(tiny, 1).expand(4, -1, -1, -1, -1) + torch.randn(4, 1, 1, 1, 1)
    optimizer = torch.optim.AdamW(mae.parameters(), 3e-3)
    for _ in range(60):
        loss = mae(volume, torch.rand(4, 12)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = noise_for(tiny, 4)
    assert mae(volume, noise).mean() < 0.7 * mae.trivial_loss(volume, noise).mean()


def test_only_learnt_tensors_are_in_the_state_dict(tiny: Preset) -> None:
    mae = MaskedAutoencoder(tiny)
    assert set(mae.state_dict()) == {name for name, _ in mae.named_parameters()}


def test_the_full_encoder_has_197_million_parameters() -> None:
    with torch.device("meta"):
        encoder = Encoder(PRESETS["full"])
    assert sum(w.numel() for w in encoder.parameters()) == pytest.approx(197e6, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(name: PresetName) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        mae = MaskedAutoencoder(preset)
        volume, noise = torch.empty(2, 1, *preset.shape), torch.empty(2, preset.num_patches)
        filled, hidden = mae.reconstruct(volume, noise)
        assert mae(volume, noise).shape == mae.trivial_loss(volume, noise).shape == (2,)
        assert mae.encoder(volume).shape == (2, preset.num_patches, preset.encoder.width)
        assert (filled.shape, hidden.shape) == (volume.shape, noise.shape)
