"""The coordinator's server: SuperLink on loopback, nginx before it, runs as they are ordered."""
