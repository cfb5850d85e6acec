"""How good a model is: figures that a published method can be compared by."""
