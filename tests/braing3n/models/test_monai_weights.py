import pytest
import torch
from monai.networks.nets import MaskedAutoEncoderViT
from torch import Tensor

from braing3n.errors import ConfigError
from braing3n.models.mae import Encoder
from braing3n.models.monai_weights import encoder_weights, load_monai_encoder
from braing3n.presets import PRESETS, Preset, PresetName


def monai_of(preset: Preset, **options: object) -> MaskedAutoEncoderViT:
    inner, outer = preset.encoder, preset.mae_decoder
    sizes = {
        "in_channels": 1, "img_size": preset.shape, "patch_size": [preset.patch] * 3,
        "hidden_size": inner.width, "mlp_dim": 4 * inner.width, "num_layers": inner.depth,
        "num_heads": inner.heads, "decoder_hidden_size": outer.width,
        "decoder_mlp_dim": 4 * outer.width, "decoder_num_layers": outer.depth,
        "decoder_num_heads": outer.heads,
    }
    return MaskedAutoEncoderViT(**(sizes | options))


def features(theirs: MaskedAutoEncoderViT, volume: Tensor) -> Tensor:
    """What MONAI's encoder makes of all patches, without CLS."""
    tokens = theirs.patch_embedding(volume)
    cls = theirs.cls_token.expand(len(tokens), -1, -1)
    result: Tensor = theirs.blocks(torch.cat([cls, tokens], dim=1))[:, 1:]
    return result


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.model."])
def test_features_are_those_of_monai(tiny: Preset, prefix: str) -> None:
    torch.manual_seed(0)
    theirs = monai_of(tiny)
    ours = Encoder(tiny)
    load_monai_encoder(ours, {prefix + name: w for name, w in theirs.state_dict().items()})
    volume = torch.randn(2, 1, *tiny.shape)
    torch.testing.assert_close(ours(volume), features(theirs, volume), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["full", "base", "small"])
def test_every_tensor_of_a_large_encoder_has_its_place(name: PresetName) -> None:
    with torch.device("meta"):
        theirs, ours = monai_of(PRESETS[name]), Encoder(PRESETS[name])
    weights = encoder_weights(ours, theirs.state_dict())
    assert {n: w.shape for n, w in weights.items()} == {
        n: w.shape for n, w in ours.state_dict().items()
    }


def test_another_width_is_refused_with_both_shapes(tiny: Preset) -> None:
    with pytest.raises(ConfigError) as caught:
        load_monai_encoder(Encoder(tiny), monai_of(tiny, hidden_size=48).state_dict())
    assert (caught.value.expected, caught.value.found) == ("(1, 1, 24)", "(1, 1, 48)")


def test_another_patch_is_refused_with_both_shapes(tiny: Preset) -> None:
    with pytest.raises(ConfigError) as caught:
        load_monai_encoder(Encoder(tiny), monai_of(tiny, patch_size=2).state_dict())
    assert (caught.value.expected, caught.value.found) == ("(24, 64)", "(24, 1, 2, 2, 2)")


def test_more_blocks_than_ours_are_refused_and_named(tiny: Preset) -> None:
    with pytest.raises(ConfigError) as caught:
        load_monai_encoder(Encoder(tiny), monai_of(tiny, num_layers=3).state_dict())
    assert "blocks.2.weight" in caught.value.found
    assert "blocks.2.attn" in caught.value.found


def test_a_bias_that_we_do_not_have_is_refused_and_named(tiny: Preset) -> None:
    with pytest.raises(ConfigError, match=r"unknown: blocks\.0\.attn\.qkv\.bias, blocks\.1"):
        load_monai_encoder(Encoder(tiny), monai_of(tiny, qkv_bias=True).state_dict())


def test_learned_positions_are_refused_and_change_nothing(tiny: Preset) -> None:
    ours = Encoder(tiny)
    before = {name: w.clone() for name, w in ours.state_dict().items()}
    with pytest.raises(ConfigError, match="other positions"):
        load_monai_encoder(ours, monai_of(tiny, pos_embed_type="learnable").state_dict())
    assert all(torch.equal(w, before[name]) for name, w in ours.state_dict().items())


def test_a_file_of_something_else_is_refused(tiny: Preset) -> None:
    with pytest.raises(ConfigError, match=r"missing: blocks\.0.*unknown: layer\.weight"):
        load_monai_encoder(Encoder(tiny), {"layer.weight": torch.zeros(2)})
