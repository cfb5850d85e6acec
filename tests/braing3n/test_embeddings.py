from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

import braing3n.embeddings
from braing3n.data.examples import Example
from braing3n.embeddings import cache_embeddings, latent_moments
from braing3n.errors import CohortError
from braing3n.models.mae import Encoder
from braing3n.networks import build_decoder
from braing3n.plan import Plan, load_plan
from braing3n.presets import PRESETS

CPU = torch.device("cpu")
DEMO = Path(__file__).resolve().parents[2] / "simulation" / "plans" / "demo.yaml"


class InMemory:
    """Random volumes of some subjects to train on and of one held out; tokens in a dict."""

    def __init__(self, training: int = 5) -> None:
        generator = torch.Generator().manual_seed(0)
        self._volumes = torch.randn(training + 1, 1, *PRESETS["nano"].shape, generator=generator)
        examples = [Example(f"sub-{n}", None, "T1w", str(n), (0.0,) * 6)
                    for n in range(training + 1)]
        self.train, self.held_out = tuple(examples[:-1]), tuple(examples[-1:])
        self.kept: dict[tuple[str, str], Tensor] = {}

    def volumes(self, examples: Sequence[Example]) -> Tensor:
        return self._volumes[[int(example.key) for example in examples]]

    def conditions(self, examples: Sequence[Example]) -> Tensor:
        return torch.tensor([example.conditions for example in examples])

    def tokens(self, examples: Sequence[Example], encoder_digest: str) -> Tensor:
        return torch.stack([self.kept[encoder_digest, example.key] for example in examples])

    def cache_tokens(self, encoder_digest: str, encode: Callable[[Tensor], Tensor],
                     batch_size: int) -> None:
        for example in self.train + self.held_out:
            if (encoder_digest, example.key) not in self.kept:
                self.kept[encoder_digest, example.key] = encode(self.volumes([example]))[0]


@pytest.fixture
def plan() -> Plan:
    return load_plan(DEMO)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(1)
    return Encoder(PRESETS["nano"]).eval()


def test_every_volume_is_embedded_once(
    plan: Plan, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = InMemory()
    digest = cache_embeddings(plan, data, encoder.state_dict(), CPU)
    with torch.no_grad():
        expected = encoder(data.volumes(data.held_out))
    torch.testing.assert_close(data.tokens(data.held_out, digest), expected)

    def refuse(preset: object) -> Encoder:
        raise AssertionError(f"built an encoder of {preset} with nothing to embed")

    monkeypatch.setattr(braing3n.embeddings, "Encoder", refuse)
    assert cache_embeddings(plan, data, encoder.state_dict(), CPU) == digest


def test_the_autocast_of_a_training_step_does_not_round_what_is_embedded_in_it(
    plan: Plan, encoder: Encoder
) -> None:
    data, lost = InMemory(), InMemory()
    digest = cache_embeddings(plan, data, encoder.state_dict(), CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cache_embeddings(plan, lost, encoder.state_dict(), CPU)
    assert torch.equal(lost.tokens(lost.train, digest), data.tokens(data.train, digest))


def test_another_encoder_has_another_digest_and_tokens_of_its_own(
    plan: Plan, encoder: Encoder
) -> None:
    data = InMemory()
    first = cache_embeddings(plan, data, encoder.state_dict(), CPU)
    with torch.no_grad():
        encoder.cls_token.add_(1.0)
    second = cache_embeddings(plan, data, encoder.state_dict(), CPU)
    assert first != second
    assert not torch.equal(data.tokens(data.train, first), data.tokens(data.train, second))


def test_moments_are_those_of_the_training_volumes_alone(plan: Plan, encoder: Encoder) -> None:
    data = InMemory(training=plan.stages.decoder.batch_size + 1)  # more than one batch
    torch.manual_seed(2)
    decoder = build_decoder(plan)
    made = latent_moments(plan, data, encoder.state_dict(), decoder, CPU)
    with torch.no_grad():
        latent = decoder.project(encoder(data.volumes(data.train)))  # (B, C, gx, gy, gz)
    torch.testing.assert_close(made["mean"], latent.mean(dim=0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made["mean_square"], latent.square().mean(dim=0),
                               atol=1e-5, rtol=1e-4)


def test_moments_of_so_few_subjects_that_they_show_one_are_refused(
    plan: Plan, encoder: Encoder
) -> None:
    weights, decoder = encoder.state_dict(), build_decoder(plan)
    with pytest.raises(CohortError, match="too few subjects for latent statistics"):
        latent_moments(plan, InMemory(training=2), weights, decoder, CPU)
    latent_moments(plan, InMemory(training=3), weights, decoder, CPU)
