"""The rules of single layers, and what the engine will not have."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from braing3n.errors import ConfigError
from braing3n.privacy import engine_bookkeeping, microbatch
from braing3n.privacy.clipping import ClippedSum, Inputs, squared_norm
from braing3n.privacy.dpsgd import clipped_sum
from braing3n.privacy.layer_rules import RULES
from braing3n.privacy_plan import StagePrivacy

PRIVACY = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=1e6, loss_bound=1e9)


def sums(network: nn.Module, subjects: list[Inputs], engine: str = "bookkeeping",
         losses=None, microbatch: int = 8) -> ClippedSum:
    def squares(inputs: Inputs) -> Tensor:
        return network(*inputs).square().flatten(1).sum(dim=1)

    return clipped_sum(network, losses or squares, subjects, privacy=PRIVACY, engine=engine,
                       microbatch=microbatch)


LAYERS = {
    "linear, few tokens": (nn.Linear(40, 30), (3, 40)),
    "linear, many tokens": (nn.Linear(4, 3), (50, 4)),
    "linear, no token axis": (nn.Linear(40, 30), (40,)),
    "linear, two token axes": (nn.Linear(4, 3), (5, 6, 4)),
    "linear, no bias": (nn.Linear(40, 30, bias=False), (3, 40)),
    "layer norm": (nn.LayerNorm(6), (5, 6)),
    "layer norm of two axes": (nn.LayerNorm((5, 6)), (5, 6)),
    "layer norm without bias": (nn.LayerNorm(6, bias=False), (6,)),
    "group norm": (nn.GroupNorm(2, 6), (6, 3, 4, 5)),
    "group norm of vectors": (nn.GroupNorm(2, 6), (6,)),
    "convolution, many places": (nn.Conv3d(3, 4, 3, padding=1), (3, 6, 5, 4)),
    "convolution, few places": (nn.Conv3d(24, 20, 3, padding=1), (24, 2, 3, 2)),
    "convolution, few places, no bias": (nn.Conv3d(24, 20, 3, bias=False), (24, 4, 3, 3)),
    "convolution, uneven": (nn.Conv3d(64, 56, (3, 1, 2), padding=(2, 0, 1)), (64, 3, 2, 4)),
    "convolution, few places, strided": (nn.Conv3d(24, 20, 3, stride=2, padding=1), (24, 4, 3, 3)),
    "convolution, dilated": (nn.Conv3d(24, 20, 3, dilation=2, padding=2), (24, 3, 3, 3)),
    "convolution, grouped": (nn.Conv3d(24, 20, 3, groups=4, padding=1), (24, 2, 2, 2)),
    "convolution, channels last": (
        nn.Conv3d(8, 16, 3, padding=1).to(memory_format=torch.channels_last_3d), (8, 4, 5, 6)),
    "transposed convolution": (nn.ConvTranspose3d(5, 4, 2, stride=2), (5, 3, 4, 2)),
    "transposed convolution, uneven": (
        nn.ConvTranspose3d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), (4, 3, 2, 2)),
}


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_rule_gives_what_autograd_gives_for_each_subject(layer: str, views: int) -> None:
    torch.manual_seed(1)
    module, shape = LAYERS[layer]
    subjects = [(torch.randn(views, *shape),) for _ in range(4)]
    losses = [lambda inputs: module(*inputs).square().flatten(1).sum(dim=1)]
    found, expected = (sums(module, subjects, engine, losses[0]) for engine in ("bookkeeping", "loop"))
    assert found.diagnostics().norms == pytest.approx(expected.diagnostics().norms, rel=2e-6)
    for name, values in expected.sums.items():
        assert found.sums[name] == pytest.approx(values, rel=1e-4, abs=1e-5 * float(values.abs().max()))


def test_layers_with_few_tokens_are_not_held_by_subject() -> None:
    ghosts = {name for name, (module, shape) in LAYERS.items()
              if (ghost := RULES[type(module)].ghost)
              and ghost.is_smaller(module, a := torch.randn(4, *shape), module(a), 4)}
    assert ghosts == {"linear, few tokens", "linear, no token axis", "linear, no bias",
                      "convolution, few places", "convolution, few places, no bias",
                      "convolution, uneven"}


def test_an_embedding_is_counted_by_subject() -> None:
    module = nn.Embedding(5, 3)
    subjects = [(torch.tensor(codes),) for codes in ([[0, 1], [1, 1]], [[4, 4], [4, 0]])]
    found, expected = (sums(module, subjects, engine) for engine in ("bookkeeping", "loop"))
    assert found.diagnostics().norms == pytest.approx(expected.diagnostics().norms, rel=1e-6)
    assert found.sums["weight"] == pytest.approx(expected.sums["weight"], rel=1e-5)


class Using(nn.Module):
    """A module made of a function, for networks that do something odd."""

    def __init__(self, function, **parts) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


class OtherLinear(nn.Linear):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens) * 2


def _tied() -> nn.Module:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    return network


LINEAR = nn.Linear(4, 4)
REFUSED = {
    "a subclass of a known layer": (nn.Sequential(OtherLinear(4, 4)), "0"),
    "another layer": (nn.Sequential(nn.RMSNorm(4)), "0"),
    "a parameter of one number": (nn.Sequential(nn.PReLU()), "0"),
    "attention of torch": (nn.Sequential(nn.MultiheadAttention(4, 2)), "0"),
    "a bilinear layer": (nn.Sequential(nn.Bilinear(4, 4, 4)), "0"),
    "a convolution that pads otherwise": (
        nn.Sequential(nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular")), "0"),
    "padding by a word": (nn.Sequential(nn.Conv3d(2, 2, 3, padding="same")), "0"),
    "a table with a padding row": (nn.Sequential(nn.Embedding(5, 3, padding_idx=0)), "0"),
    "a table that is kept short": (nn.Sequential(nn.Embedding(5, 3, max_norm=1.0)), "0"),
    "a shared parameter": (_tied(), "1"),
    "a matrix outside of layers": (
        Using(lambda self, x: x @ self.matrix, matrix=nn.Parameter(torch.randn(4, 4))), "Using"),
    "a number outside of layers": (
        Using(lambda self, x: x * self.scale, scale=nn.Parameter(torch.ones(1))), "Using"),
}


@pytest.mark.parametrize("engine", ["bookkeeping", "opacus"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_there_is_no_rule_for_is_refused_by_name(what: str, engine: str) -> None:
    network, name = REFUSED[what]
    with pytest.raises(ConfigError, match=rf"cannot train {name}.* with differential privacy"):
        sums(network, [], engine)


ODD = {
    "a layer that is called twice": Using(lambda self, x: self.layer(self.layer(x)), layer=LINEAR),
    "weights used beside their layer": Using(
        lambda self, x: self.layer(x) + x @ self.layer.weight, layer=nn.Linear(4, 4)),
    "an input that is changed afterwards": Using(
        lambda self, x: self.second(y) + y.mul_(2) if (y := self.first(x) * 1) is not None else x,
        first=nn.Linear(4, 4), second=nn.Linear(4, 4)),
    "tokens first": Using(lambda self, x: self.layer(x.transpose(0, 1)).transpose(0, 1),
                          layer=nn.Linear(4, 4)),
    "a named input": Using(lambda self, x: self.layer(input=x), layer=nn.Linear(4, 4)),
    "a vector among tokens": Using(lambda self, x: self.layer(x * self.scale), layer=nn.Linear(4, 4),
                                   scale=nn.Parameter(torch.randn(4))),
}


@pytest.mark.parametrize("tokens", [3, 6])  # six are as many as there are rows
@pytest.mark.parametrize("what", ODD)
def test_what_a_network_does_beside_its_layers_is_noticed(what: str, tokens: int) -> None:
    torch.manual_seed(0)
    subjects = [(torch.randn(2, tokens, 4),) for _ in range(3)]
    with pytest.raises((ConfigError, RuntimeError)) as caught:
        sums(ODD[what], subjects)
    if not isinstance(caught.value, ConfigError):  # torch's own, as shapes do not fit
        assert (what, tokens) == ("a vector among tokens", 3)


def test_the_comparison_with_the_loop_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = engine_bookkeeping.subject_gradient
    monkeypatch.setattr(engine_bookkeeping, "subject_gradient",
                        lambda *args: (calls.append(1), real(*args))[1])
    network = nn.Sequential(nn.Linear(4, 4))
    for _ in range(3):
        sums(network, [(torch.randn(2, 3, 4),) for _ in range(4)], microbatch=2)
    assert len(calls) == 1


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(20, 30), nn.LayerNorm(30), nn.Linear(30, 20))
    network[0].weight.requires_grad_(False)
    network[2].requires_grad_(False)
    subjects = [(torch.randn(1, 2, 20),) for _ in range(3)]
    found, expected = (sums(network, subjects, engine) for engine in ("bookkeeping", "loop"))
    assert list(found.sums) == list(expected.sums) == ["0.bias", "1.weight", "1.bias"]
    assert found.diagnostics().norms == pytest.approx(expected.diagnostics().norms, rel=2e-6)
    assert not network[0].weight.requires_grad
    assert network[0].bias.requires_grad


def test_a_failure_on_the_way_leaves_the_network_as_it_was() -> None:
    network = Using(lambda self, x: self.layer(x + self.token) / 0 if x.sum() > 1e9 else 1 / 0,
                    layer=nn.Linear(4, 4), token=nn.Parameter(torch.randn(1, 1, 4)))
    token = network.token
    with pytest.raises(ZeroDivisionError):
        sums(network, [(torch.randn(2, 3, 4),)] * 2)
    assert network.token is token
    assert all(p.requires_grad for p in network.parameters())
    assert not network.layer._forward_hooks


@pytest.mark.parametrize("scale", [1e-24, 1e-12, 1.0, 1e12])
def test_norms_by_gram_matrices_hold_at_any_scale(scale: float) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Linear(40, 30))
    subjects = [(torch.randn(1, 3, 40) * scale,) for _ in range(3)]

    def losses(inputs: Inputs) -> Tensor:
        return (network(*inputs) / scale).sin().flatten(1).sum(dim=1) * 1e-3

    found, expected = (sums(network, subjects, engine, losses).diagnostics()
                       for engine in ("bookkeeping", "loop"))
    assert found.norms == pytest.approx(expected.norms, rel=4e-6)


def test_a_subject_whose_tokens_cancel_is_told_by_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(400, 300))
    through_loop: list[int] = []
    add_subject = microbatch.add_subject
    monkeypatch.setattr(microbatch, "add_subject",
                        lambda *args: (through_loop.append(1), add_subject(*args))[1])
    token = torch.randn(400)
    signs = torch.tensor([1.0, -1.0])

    def losses(inputs: Inputs) -> Tensor:  # the gradients of both tokens are opposite
        return (network(inputs[0]).sum(dim=2) * signs).sum(dim=1)

    usual = (torch.randn(1, 2, 400),)
    cancelling = (torch.stack([token, token + 1e-4 * torch.randn(400)]).unsqueeze(0),)
    subjects = [usual, cancelling, usual]
    found, expected = (sums(network, subjects, engine, losses) for engine in ("bookkeeping", "loop"))
    assert len(through_loop) == 1
    assert found.diagnostics().norms == pytest.approx(expected.diagnostics().norms, rel=4e-6)


def test_norms_are_rounded_up_and_never_down() -> None:
    torch.manual_seed(4)
    network = nn.Linear(400, 300)
    for _ in range(20):
        rule = RULES[nn.Linear]
        a, g = torch.randn(2, 3, 400) + 1, torch.randn(2, 3, 300)
        squares, doubts = rule.ghost.squared_norms(network, a, g, 2)
        exact = {name: part.double() for name, part in
                 rule.gradients(network.double(), a.double(), g.double(), 2).items()}
        network.float()
        true = sum(part.square().flatten(1).sum(dim=1) for part in exact.values())
        assert ((squares + doubts) >= true * (1 - 1e-7)).all()
        assert (doubts <= 4e-6 * true).all()


def test_in_bfloat16_the_clip_is_of_what_is_summed(dp_case) -> None:
    case = dp_case("mae")

    def losses(inputs: Inputs) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return case.losses(inputs).float()

    privacy = PRIVACY.model_copy(update={"clip_norm": 0.01})
    for engine in ("loop", "bookkeeping"):
        for seed in range(4):
            total = clipped_sum(case.network, losses, [case.subject(3, seed)], privacy=privacy,
                                engine=engine, microbatch=2)
            long = math.sqrt(squared_norm(list(total.sums.values())))
            assert long == pytest.approx(0.01 / math.sqrt(1.01), rel=1e-4)


_PEAK = """
import ctypes, sys
from pathlib import Path
import torch
from torch import nn
from braing3n.privacy.dpsgd import clipped_sum
from braing3n.privacy_plan import StagePrivacy

def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))

torch.set_num_threads(1)
network = nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 1024), nn.LayerNorm(1024))
privacy = StagePrivacy(noise_multiplier=1.0, sample_rate=0.1, clip_norm=1.0)
def run(drawn):
    subjects = ((torch.randn(2, 96, 256),) for _ in range(drawn))
    clipped_sum(network, lambda inputs: network(*inputs).square().flatten(1).mean(1), subjects,
                privacy=privacy, engine=sys.argv[1], microbatch=4)
run(8)
peaks = []
for drawn in (8, 32):
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run(drawn)
    peaks.append(status("VmHWM") - before)
print(*peaks)
"""


@pytest.mark.parametrize("engine", ["loop", "bookkeeping", "opacus"])
def test_memory_is_for_a_microbatch_however_many_are_drawn(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, engine], capture_output=True, text=True, check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"})
    few, many = map(int, done.stdout.split())
    assert few > 5_000  # kB; else nothing was measured
    assert many < 1.15 * few
