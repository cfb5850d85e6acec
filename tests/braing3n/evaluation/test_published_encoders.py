from pathlib import Path

import pytest
import torch
from monai.networks.nets import ViT
from monai.networks.nets.resnet import ResNet
from monai.networks.nets.swin_unetr import SwinTransformer
from safetensors.torch import save_file
from torch import nn

from braing3n.errors import ConfigError
from braing3n.evaluation.published_encoders import (
    PUBLISHED,
    VitSize,
    open_brainiac,
    open_brainsegfounder,
    open_medicalnet,
    read_weights,
    to_cube,
)

CPU = torch.device("cpu")
SMALL = VitSize(width=48, depth=2, heads=3, mlp=96)


def _volumes() -> torch.Tensor:
    return torch.randn(2, 1, 20, 24, 20, generator=torch.Generator().manual_seed(0))


class _Block(nn.Module):
    """MedicalNet's own basic block, written out after its paper's code."""

    def __init__(self, inside: int, planes: int, stride: int, dilation: int, *, is_plain: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inside, planes, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm3d(planes)
        self.conv2 = nn.Conv3d(planes, planes, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(planes)
        self.stride, self.grows = stride, planes - inside
        if not is_plain and (stride != 1 or self.grows):
            self.downsample = nn.Sequential(nn.Conv3d(inside, planes, 1, stride, bias=False),
                                            nn.BatchNorm3d(planes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if hasattr(self, "downsample"):
            x = self.downsample(x)
        else:  # zeros in place of channels that are new
            x = x[:, :, ::self.stride, ::self.stride, ::self.stride]
            x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, self.grows))
        return (out + x).relu()


class _MedicalNet(nn.Module):
    def __init__(self, blocks: int, *, is_plain: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        plan = ((64, 64, 1, 1), (64, 128, 2, 1), (128, 256, 1, 2), (256, 512, 1, 4))
        for number, (inside, planes, stride, dilation) in enumerate(plan, 1):
            setattr(self, f"layer{number}", nn.Sequential(
                _Block(inside, planes, stride, dilation, is_plain=is_plain),
                *(_Block(planes, planes, 1, dilation, is_plain=is_plain) for _ in range(blocks - 1))))
        self.conv_seg = nn.Sequential(nn.ConvTranspose3d(512, 32, 2, 2), nn.BatchNorm3d(32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean(dim=(2, 3, 4))


@pytest.mark.parametrize(("depth", "blocks", "is_plain"), [(10, 1, False), (18, 2, True)])
def test_medicalnet_from_a_file_of_its_layout_gives_its_own_features(tmp_path: Path, depth: int,
                                                                     blocks: int, is_plain: bool):
    torch.manual_seed(0)
    theirs = _MedicalNet(blocks, is_plain=is_plain).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-0.1, 0.1)
    weights = {f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "resnet.pth")
    encoder = open_medicalnet(tmp_path / "resnet.pth", CPU, depth)
    volumes = _volumes()
    found = encoder.embed(volumes[:1])
    with torch.no_grad():
        expected = theirs(to_cube(volumes[:1], 96).permute(0, 1, 4, 3, 2))
    assert found.shape == (1, 512)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_medicalnet_50_has_bottlenecks_and_weights_in_its_shortcuts(tmp_path: Path):
    network = ResNet("bottleneck", [3, 4, 6, 3], [64, 128, 256, 512], n_input_channels=1,
                     feed_forward=False, shortcut_type="B", bias_downsample=False)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()
                               if not k.endswith("num_batches_tracked")}}, tmp_path / "r50.pth")
    encoder = open_medicalnet(tmp_path / "r50.pth", CPU, 50)
    assert encoder.network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 2048)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("names", ["pretraining", "SwinUNETR", "old"])
def test_brainsegfounder_is_read_under_the_names_it_was_saved_with(tmp_path: Path, channels: int,
                                                                   names: str):
    torch.manual_seed(0)
    theirs = SwinTransformer(in_chans=channels, embed_dim=12, window_size=(7, 7, 7),
                             patch_size=(2, 2, 2), depths=(2, 2, 2, 2), num_heads=(3, 6, 12, 24)).eval()
    weights = theirs.state_dict()
    if names == "pretraining":
        saved = {"state_dict": {f"module.swinViT.{k}": v for k, v in weights.items()}
                 | {"module.rotation_head.weight": torch.zeros(4, 192)}}
    elif names == "SwinUNETR":
        saved = {"model_state_dict": {f"swinViT.{k}": v for k, v in weights.items()}
                 | {"encoder1.layer.conv1.conv.weight": torch.zeros(1)}}
    else:
        saved = {f"module.{k.replace('.mlp.linear', '.mlp.fc')}": v for k, v in weights.items()}
    torch.save(saved, tmp_path / "swin.pt")
    encoder = open_brainsegfounder(tmp_path / "swin.pt", CPU, width=12, side=32)
    volumes = _volumes()[:1]
    with torch.no_grad():
        expected = theirs(to_cube(volumes, 32).repeat(1, channels, 1, 1, 1))[4].mean(dim=(2, 3, 4))
    torch.testing.assert_close(encoder.embed(volumes), expected)
    assert ("2 channels" in encoder.pooling) == (channels == 2)


@pytest.mark.parametrize("has_cross_attention", [True, False])
def test_brainiac_is_read_from_its_checkpoint_and_gives_the_first_token(tmp_path: Path,
                                                                        has_cross_attention: bool):
    torch.manual_seed(0)
    theirs = ViT(in_channels=1, img_size=(96,) * 3, patch_size=(16,) * 3, hidden_size=48, mlp_dim=96,
                 num_layers=2, num_heads=3, save_attn=True).eval()
    torch.save({"epoch": 18, "state_dict": {
        f"backbone.{k}": v for k, v in theirs.state_dict().items()
        if has_cross_attention or "cross_attn" not in k} | {"projector.weight": torch.zeros(2)}},
        tmp_path / "BrainIAC.ckpt")
    encoder = open_brainiac(tmp_path / "BrainIAC.ckpt", CPU, SMALL)
    volumes = _volumes()
    with torch.no_grad():
        expected = theirs(to_cube(volumes, 96))[0][:, 0]
    torch.testing.assert_close(encoder.embed(volumes), expected)


def test_safetensors_are_read_as_well(tmp_path: Path):
    save_file({"module.a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert list(read_weights(tmp_path / "w.safetensors")) == ["a"]


def test_another_networks_file_is_told_by_names_and_shapes(tmp_path: Path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7, 7), "fc.bias": torch.zeros(5)},
               tmp_path / "other.pth")
    with pytest.raises(ConfigError) as error:
        open_medicalnet(tmp_path / "other.pth", CPU, 10)
    text = str(error.value)
    for part in ("lacks bn1.weight (64,)", "unknown: fc.bias (5,)",
                 "conv1.weight is (64, 3, 7, 7, 7), not (64, 1, 7, 7, 7)"):
        assert part in text


class _Attack:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize("content", ["not a checkpoint", _Attack(), [1, 2], {"epoch": 3}])
def test_a_file_that_is_no_weights_is_refused_and_never_run(tmp_path: Path, content: object):
    path = tmp_path / "odd.pth"
    if isinstance(content, str):
        path.write_text(content)
    else:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=r"cannot be read as weights|holds no weights") as error:
        read_weights(path)
    assert "weights_only" not in str(error.value)  # PyTorch's own advice would run the file


def test_a_volume_is_turned_padded_and_resized_without_stretching():
    volume = torch.zeros(1, 1, 40, 48, 40)
    volume[0, 0, 4, 8, 30] = 1.0  # right, front and high, in LPS
    cube = to_cube(volume, 48)
    x, y, z = (cube[0, 0] == 1).nonzero()[0].tolist()
    assert (x, y, z) == (39 - 4 + 4, 47 - 8, 30 + 4)
    ball = to_cube(torch.ones(1, 1, 40, 48, 40), 96)[0, 0] > 0.5
    assert [int(ball.any(dim=axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [80, 96, 80]


def test_every_published_encoder_has_a_name():
    assert set(PUBLISHED) == {"medicalnet10", "medicalnet18", "medicalnet50", "brainsegfounder",
                              "brainiac"}
