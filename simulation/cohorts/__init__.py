"""Public cohorts: one YAML file each, and how their tables are read."""
