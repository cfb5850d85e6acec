"""A hospital's program on the network: Flower's SuperNode, and what runs each task that it receives."""
