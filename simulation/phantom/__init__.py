"""The embedded cohort: synthetic brains with known truth, and how generated ones are measured."""
