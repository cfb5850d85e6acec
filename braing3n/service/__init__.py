"""What a foreground program needs that runs others: their output as one log, restarts, a clean end."""
