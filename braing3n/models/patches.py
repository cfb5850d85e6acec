"""Volumes as sequences of cubes, and back."""

from torch import Tensor


def patchify(volume: Tensor, patch: int) -> Tensor:
    """Cut volumes into cubes.

    Args:
        volume: (B, 1, X, Y, Z).
        patch: P, the cube's edge in voxels.

    Returns:
        (B, N, P³); patches and the voxels within each are ordered with Z fastest.

    Raises:
        ValueError: `patch` does not divide X, Y and Z.
    """
    batch, _, *shape = volume.shape
    if any(n % patch for n in shape):
        raise ValueError(f"patches of {patch} do not divide a volume of {tuple(shape)}")
    x, y, z = (n // patch for n in shape)
    cubes = volume.reshape(batch, x, patch, y, patch, z, patch)
    return cubes.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, x * y * z, patch**3)


def unpatchify(patches: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Put the cubes of `patchify` back together.

    Args:
        patches: (B, N, P³).
        grid: Patches along (X, Y, Z); their product is N.

    Returns:
        (B, 1, X, Y, Z).
    """
    batch, _, num_voxels = patches.shape
    patch = round(num_voxels ** (1 / 3))
    cubes = patches.reshape(batch, *grid, patch, patch, patch).permute(0, 1, 4, 2, 5, 3, 6)
    return cubes.reshape(batch, 1, *(n * patch for n in grid))
