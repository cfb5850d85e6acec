"""NIfTI files, read whole and not mended."""
