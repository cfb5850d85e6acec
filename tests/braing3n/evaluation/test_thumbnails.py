import numpy as np
import torch

from braing3n.evaluation.thumbnails import thumbnails


def test_thumbnails_keep_a_constant_and_put_a_blob_where_it_was():
    volumes = torch.zeros(2, 1, 40, 48, 40)
    volumes[0] = 3.0
    volumes[1, 0, 28:33, 10:14, 18:22] = 1.0
    small = thumbnails(volumes)
    assert small.shape == (2, 8 * 10 * 8)
    assert small[0].view(8, 10, 8)[3:-3, 3:-3, 3:-3].allclose(torch.tensor(3.0), atol=1e-2)
    brightest = np.unravel_index(int(small[1].argmax()), (8, 10, 8))
    assert brightest in ((6, 2, 3), (6, 2, 4))
