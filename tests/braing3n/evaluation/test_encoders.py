from pathlib import Path

import pytest
import torch

from braing3n.errors import ConfigError, OutputError
from braing3n.evaluation.encoders import Thumbnails, open_own, open_random, open_run
from braing3n.models.mae import Encoder
from braing3n.presets import PRESETS
from braing3n.weights import digest_state, save_weights

DEMO = Path(__file__).resolve().parents[3] / "simulation" / "plans" / "demo.yaml"
NANO = PRESETS["nano"]


def _volumes() -> torch.Tensor:
    return torch.randn(2, 1, *NANO.shape, generator=torch.Generator().manual_seed(0))


def test_a_runs_encoder_gives_the_networks_own_features(tmp_path: Path):
    torch.manual_seed(5)
    network = Encoder(NANO).eval()
    run = tmp_path / "first"
    run.mkdir()
    (run / "plan.yaml").write_text(DEMO.read_text())
    save_weights(run / "model" / "encoder.safetensors", network.state_dict())
    encoder = open_run(run)
    with torch.no_grad():
        expected = network.embed(_volumes())
    assert torch.equal(encoder.embed(_volumes()), expected)
    assert (encoder.name, encoder.digest) == ("first", digest_state(network.state_dict()))


def test_random_weights_depend_on_the_seed_alone_and_leave_others_random_numbers_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, again, other = (open_random(NANO, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert one.digest == again.digest != other.digest
    assert one.embed(_volumes()).shape == (2, 2 * NANO.encoder.width)
    assert "seed 3" in one.pooling


def test_thumbnails_say_what_they_are():
    assert Thumbnails().embed(_volumes()).shape == (2, 344)
    assert "8 x 10 x 8" in Thumbnails().pooling


def test_weights_of_another_preset_are_told_in_words(tmp_path: Path):
    save_weights(tmp_path / "e.safetensors", Encoder(NANO).state_dict())
    with pytest.raises(ConfigError, match=r"--preset"):
        open_own("mine", tmp_path / "e.safetensors", PRESETS["small"])
    with pytest.raises(OutputError, match="no such file"):
        open_own("mine", tmp_path / "gone.safetensors", NANO)
