"""An attack on the real training code, to see whether it keeps what is claimed of it."""
