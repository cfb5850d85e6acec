"""What a site may have done to its scans before they are resampled."""
