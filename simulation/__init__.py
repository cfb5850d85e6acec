"""Rehearsals on one machine: embedded cohorts, simulated federations and their measures."""
