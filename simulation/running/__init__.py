"""A run on Flower's simulation runtime: processes, memory, progress, interruptions."""
