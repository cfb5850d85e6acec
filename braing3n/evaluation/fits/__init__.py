"""Fits from sums over sites: ridge, discriminants, logistic and Cox regression."""
