"""A site's folder in, findings out: what is broken, what is odd, what must not be there."""
