"""BrainG3N federated: one 3D brain-MRI foundation model, trained where the scans are."""
