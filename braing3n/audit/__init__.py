"""Checking what sites say of privacy, without trusting their software."""
