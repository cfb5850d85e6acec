"""The coordinator: it sends plans and weights to sites and merges what comes back."""
