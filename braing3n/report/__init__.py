"""From a run's folder to one page that a person can read."""
