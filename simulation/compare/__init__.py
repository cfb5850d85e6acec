"""Training at one site, over sites, and pooled, measured on the same held-out subjects."""
