import math

import pytest
import torch

from braing3n.models.transformer import Attention, grid_positions, grid_waves


def test_positions_are_sines_and_cosines_of_y_then_x_then_z() -> None:
    places = grid_positions((2, 3, 4), 12).view(2, 3, 4, 12)
    for x, y, z in ((0, 0, 0), (1, 2, 3), (1, 0, 2)):
        naive = [wave(axis * 10_000.0 ** -(k / 2))
                 for axis in (y, x, z) for wave in (math.sin, math.cos) for k in range(2)]
        torch.testing.assert_close(places[x, y, z], torch.tensor(naive), atol=1e-6, rtol=0)


def test_a_width_that_three_axes_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 6 as width, not 64"):
        grid_positions((2, 2, 2), 64)


def test_waves_of_a_whole_basis_are_orthogonal_and_of_mean_square_one() -> None:
    waves = grid_waves((2, 3, 4), 24)
    torch.testing.assert_close(waves.T @ waves, 24 * torch.eye(24), atol=1e-4, rtol=0)


def test_the_lowest_waves_come_first_and_what_is_left_of_the_width_is_zero() -> None:
    waves = grid_waves((2, 2, 3), 16)
    torch.testing.assert_close(waves[:, 0], torch.ones(12))
    slowest = torch.cos(torch.pi * (torch.arange(3) + 0.5) / 3).repeat(4)  # along Z, the longest
    torch.testing.assert_close(waves[:, 1], slowest / slowest.square().mean().sqrt())
    assert torch.equal(waves[:, 12:], torch.zeros(12, 4))


def test_attention_is_the_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2)
    tokens = torch.randn(3, 5, 8)
    query, key, value = attention.qkv(tokens).split(8, dim=2)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        scores = query[..., head] @ key[..., head].transpose(1, 2) / math.sqrt(4)
        heads.append(scores.softmax(dim=2) @ value[..., head])
    torch.testing.assert_close(attention(tokens), attention.out(torch.cat(heads, dim=2)))
