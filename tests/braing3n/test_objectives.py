import pytest
import torch

from braing3n.data.examples import Example
from braing3n.files import digest_bytes
from braing3n.objectives import augment, choose_hidden, pick


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_variables_are_hidden_one_by_one_and_all_at_once() -> None:
    hidden = choose_hidden(100_000, 0.1, generator())
    whole = hidden.all(dim=1)
    assert whole.double().mean() == pytest.approx(0.1, abs=0.005)
    rest = hidden[~whole].double().mean(dim=0)
    torch.testing.assert_close(rest, torch.full((6,), 0.1, dtype=torch.double), atol=0.005, rtol=0)


@pytest.mark.parametrize(("dropout", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_dropout_of_none_and_of_all_is_exact(dropout: float, share: float) -> None:
    assert choose_hidden(1000, dropout, generator()).double().mean() == share


def test_augmentation_flips_scales_and_shifts_the_brain_and_leaves_background_at_zero() -> None:
    volume = torch.zeros(400, 1, 4, 2, 2)
    volume[:, :, 0], volume[:, :, 1] = 1.0, 3.0  # the brain is on one side
    made = augment(volume, generator())
    flipped = made[:, 0, 0, 0, 0] == 0
    assert 150 < flipped.sum() < 250
    straight = torch.where(flipped.view(-1, 1, 1, 1, 1), made.flip(2), made)
    assert torch.equal(straight == 0, volume == 0)
    scale = (straight[:, 0, 1, 0, 0] - straight[:, 0, 0, 0, 0]) / 2
    shift = straight[:, 0, 0, 0, 0] - scale
    for change in (scale - 1, shift):
        assert change.abs().max() <= 0.1 + 1e-6
        assert change.std() == pytest.approx(0.2 / 12**0.5, rel=0.1)  # uniform over ±0.1
    torch.testing.assert_close(straight[volume != 0].view(400, 8),
                               (volume * scale.view(-1, 1, 1, 1, 1)
                                + shift.view(-1, 1, 1, 1, 1))[volume != 0].view(400, 8))


def test_volumes_are_picked_by_chance_of_their_keys_and_not_by_modality() -> None:
    modalities = ("FLAIR", "T1c", "T1w", "T2w")
    examples = [Example(f"sub-{n:03}", None, modality, digest_bytes(f"{n} {modality}".encode()),
                        (0.0,) * 6) for n in range(100) for modality in modalities]
    picked = pick(examples, 100)
    assert len(set(picked)) == 100
    assert picked == pick(examples[::-1], 100)
    counts = [sum(e.modality == modality for e in picked) for modality in modalities]
    assert min(counts) > 10
    assert set(pick(examples[:3], 100)) == set(examples[:3])
