"""One hospital: it trains on its own scans and decides what leaves."""
