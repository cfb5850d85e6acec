"""A site's latent moments under the Gaussian mechanism, from tokens to the layout of exact ones."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import simulation
from braing3n.data.examples import Example
from braing3n.dp_moments import latent_moments_with_dp
from braing3n.models.decoder import LatentDecoder
from braing3n.models.mae import Encoder
from braing3n.networks import build_decoder, moments_like
from braing3n.plan import load_plan
from braing3n.presets import PRESETS
from braing3n.privacy.noise import SecureRandom
from braing3n.privacy_plan import StagePrivacy
from braing3n.weights import layout_digest

PLAN = load_plan(Path(simulation.__file__).parent / "plans" / "demo-dp.yaml")
PRESET = PRESETS["nano"]
CPU = torch.device("cpu")
QUIET = StagePrivacy(noise_multiplier=1.5, sample_rate=0.25, clip_norm=1.0,
                     release_noise_multiplier=1e-9)


class MadeTokens:
    """Subjects of one to three volumes whose tokens are normal around a mean of the subject's own."""

    def __init__(self, count: int, odd: str = "", scale: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(4)
        shape = (PRESET.num_patches, PRESET.encoder.width)
        self.kept: dict[str, Tensor] = {}
        examples = []
        for number in range(count):
            centre = 0.1 * torch.randn(shape[1], generator=generator)
            for volume in range(1 + number % 3):
                example = Example(f"sub-{number:03d}", None, "T1w", f"{number:03d}-{volume}",
                                  (0.0,) * 6)
                tokens = scale * (centre + torch.randn(shape, generator=generator))
                self.kept[example.key] = tokens * math.nan if example.subject == odd else tokens
                examples.append(example)
        self.train, self.held_out = tuple(examples), ()

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        raise NotImplementedError

    conditions = volumes

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        return torch.stack([self.kept[example.key] for example in examples])

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        """Have them already."""


@pytest.fixture(scope="module")
def encoder() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(Encoder(PRESET).state_dict())


@pytest.fixture(scope="module")
def decoder() -> LatentDecoder:
    torch.manual_seed(0)
    built = build_decoder(PLAN)
    with torch.no_grad():
        built.projection.bias.normal_()
    return built.eval()


def moments(data: MadeTokens, encoder: dict[str, Tensor], decoder: LatentDecoder, *,
            how: StagePrivacy = QUIET, public: int = 40, seed: int = 0) -> dict[str, Tensor]:
    return latent_moments_with_dp(PLAN, data, encoder, decoder, CPU, how, public, SecureRandom(seed))


def test_moments_have_the_layout_of_exact_ones_and_are_the_same_at_every_place(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    found = moments(MadeTokens(5), encoder, decoder)
    assert layout_digest(found) == layout_digest(moments_like(PLAN))
    for tensor in found.values():
        assert tensor.dtype == torch.float32
        flat = tensor.flatten(1)
        assert torch.equal(flat, flat[:, :1].expand_as(flat))


def test_without_noise_to_speak_of_they_are_the_moments_of_the_latents(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    data = MadeTokens(40)
    found = moments(data, encoder, decoder, how=QUIET.model_copy(update={"moments_bound": 4.0}))
    with torch.no_grad():
        of_subjects = [torch.stack([decoder.project(data.kept[e.key][None])[0].flatten(1)
                                    for e in data.train if e.subject == subject])
                       for subject in sorted({e.subject for e in data.train})]
    mean = torch.stack([one.mean(dim=(0, 2)) for one in of_subjects]).mean(0)          # (C,)
    variance = torch.stack([one.var(dim=(0, 2)) for one in of_subjects]).mean(0)       # (C,)
    torch.testing.assert_close(found["mean"][:, 0, 0, 0], mean, rtol=0, atol=1e-3)
    # One variance serves all channels, in deviations that the projection itself gives.
    ours = (found["mean_square"] - found["mean"].square())[:, 0, 0, 0]
    torch.testing.assert_close(ours, variance, rtol=0.15, atol=0)


def test_they_come_near_that_with_the_demos_noise_at_a_large_site(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    data = MadeTokens(60)
    quiet = moments(data, encoder, decoder, public=60)
    noisy = moments(data, encoder, decoder, public=60, how=QUIET.model_copy(
        update={"release_noise_multiplier": 4.0 * 60 / 20_000}))  # as 20,000 such subjects would have
    scale = decoder.projection.weight.detach().norm(dim=1)
    moved = ((noisy["mean"] - quiet["mean"])[:, 0, 0, 0] / scale).abs()
    assert 0 < float(moved.max()) < 0.03
    torch.testing.assert_close(noisy["mean_square"], quiet["mean_square"], rtol=0.02, atol=0.01)


def test_a_nan_patient_gives_nothing(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    odd, whole = MadeTokens(5, odd="sub-002"), MadeTokens(5)
    whole.train = tuple(e for e in whole.train if e.subject != "sub-002")
    ours, theirs = (moments(data, encoder, decoder) for data in (odd, whole))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)


def test_one_subject_moves_the_means_by_its_bound_over_n_however_large_it_is(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    data = MadeTokens(4, scale=1e6)
    fewer = MadeTokens(4, scale=1e6)
    fewer.train = tuple(e for e in fewer.train if e.subject != "sub-003")
    with_it, without = (moments(one, encoder, decoder)["mean"][:, 0, 0, 0] for one in (data, fewer))
    scale = decoder.projection.weight.detach().norm(dim=1)
    moved = float(((with_it - without) / scale).norm())
    bound = QUIET.moments_bound * math.sqrt(PRESET.latent_channels) / 4
    assert 0 < moved <= math.sqrt(2) * bound / 40 * (1 + 1e-3)


def test_a_site_of_nobody_gives_numbers_that_can_be_used(
    encoder: dict[str, Tensor], decoder: LatentDecoder
) -> None:
    data = MadeTokens(1)
    data.train = ()
    found = moments(data, encoder, decoder, how=QUIET.model_copy(
        update={"release_noise_multiplier": 4.0}))
    assert all(torch.isfinite(tensor).all() for tensor in found.values())
    assert (found["mean_square"] - found["mean"].square()).min() > 0
