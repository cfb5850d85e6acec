"""`braing3n probe`: what frozen encoders say of labels, side by side."""
