"""Read an encoder that was trained with MONAI's `MaskedAutoEncoderViT` (as of 1.6.1)."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from braing3n.errors import ConfigError
from braing3n.listing import first_of
from braing3n.models.mae import Encoder

_POSITIONS = "patch_embedding.position_embeddings"
# Parts of the same file that an encoder has no use for. Every block of MONAI's owns a
# cross-attention norm (and, in older versions, the attention) that nothing ever runs.
_UNUSED = re.compile(
    r"decoder_.*|mask_tokens|blocks\.\d+\.(norm_cross_attn|cross_attn)\..*|" + re.escape(_POSITIONS)
)
_BLOCK_PARTS = {
    "norm_attention": "norm1", "attention.qkv": "attn.qkv", "attention.out": "attn.out_proj",
    "norm_mlp": "norm2", "mlp.0": "mlp.linear1", "mlp.2": "mlp.linear2",
}


def load_monai_encoder(encoder: Encoder, state_dict: Mapping[str, Tensor]) -> None:
    """Copy weights of MONAI's masked autoencoder into `encoder`.

    Args:
        encoder: Changed in place.
        state_dict: That of a `MaskedAutoEncoderViT` with convolutional patch embedding, fixed
            sine-cosine positions and without a bias on queries, keys and values. All names may
            share a prefix, such as `module.` or `encoder.`.

    Raises:
        ConfigError: A tensor is missing, unknown or of another shape, or the positions are not
            the fixed ones; `encoder` is unchanged.
    """
    weights = encoder_weights(encoder, state_dict)
    positions = next((v for k, v in state_dict.items() if k.endswith(_POSITIONS)), None)
    if positions is not None and not torch.allclose(
        positions[0].to(encoder.places), encoder.places, atol=1e-3
    ):
        raise _misfit("the encoder was trained with other positions", "fixed 3D sine-cosine",
                      f"other numbers in {_POSITIONS}")
    encoder.load_state_dict(weights)


def encoder_weights(encoder: Encoder, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of MONAI's `state_dict` under the names and shapes of `encoder`.

    Raises:
        ConfigError: A tensor is missing, unknown or of another shape.
    """
    prefix = next((k.removesuffix("cls_token") for k in state_dict if k.endswith("cls_token")), "")
    found = {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}
    wanted = {_monai_name(name, len(encoder.blocks)): name for name in encoder.state_dict()}
    missing = sorted(wanted.keys() - found.keys())
    unknown = sorted(k for k in found.keys() - wanted.keys() if not _UNUSED.fullmatch(k))
    if missing or unknown:
        raise _misfit("a file of weights is not one of this encoder",
                      f"{len(wanted)} tensors named as in MONAI's MaskedAutoEncoderViT",
                      f"missing: {_some(missing)}; unknown: {_some(unknown)}")
    weights = {}
    for theirs, ours in wanted.items():
        expected, tensor = encoder.state_dict()[ours].shape, found[theirs]
        if theirs == "patch_embedding.patch_embeddings.weight" and tensor.shape[1:] == (
            1, *[encoder.patch] * 3
        ):
            tensor = tensor.flatten(1)                                     # (E, P³)
        if tensor.shape != expected:
            raise _misfit(f"{theirs} has another shape", str(tuple(expected)),
                          str(tuple(tensor.shape)))
        weights[ours] = tensor
    return weights


def _monai_name(name: str, depth: int) -> str:
    """Return MONAI's name of a tensor of an encoder with `depth` blocks."""
    block = re.fullmatch(r"(blocks\.\d+)\.(.+)\.(weight|bias)", name)
    if block:
        return f"{block[1]}.{_BLOCK_PARTS[block[2]]}.{block[3]}"
    # The last norm stands behind the blocks, as one of them.
    return name.replace("patch_embedding", "patch_embedding.patch_embeddings").replace(
        "norm", f"blocks.{depth}")


def _some(names: list[str]) -> str:
    return first_of(names, 4) or "none"


def _misfit(what: str, expected: str, found: str) -> ConfigError:
    return ConfigError(what, expected=expected, found=found,
                       fix="choose the preset that the weights were trained with")
