import torch

from braing3n.evaluation.thumbnails import inside, thumbnails


def test_thumbnails_keep_a_constant_and_put_a_blob_where_it_was():
    volumes = torch.zeros(2, 1, 40, 48, 40)
    volumes[0] = 3.0
    volumes[1, 0, 23:28, 10:14, 18:22] = 1.0
    small = thumbnails(volumes)
    assert small.shape == (2, 344)
    placed = torch.zeros(2, 8, 10, 8)
    placed[:, inside()] = small
    assert placed[0][3:-3, 3:-3, 3:-3].allclose(torch.tensor(3.0), atol=1e-2)
    assert placed[1].flatten().argmax() in (5 * 80 + 2 * 8 + 3, 5 * 80 + 2 * 8 + 4)


def test_corners_are_left_out():
    volumes = torch.zeros(1, 1, 40, 48, 40)
    volumes[..., :6, :6, :6] = 5.0
    assert not inside()[0, 0, 0]
    assert thumbnails(volumes).abs().max() < 0.05
