"""Differential privacy for one patient: training, account, ledger, and what a site allows."""
