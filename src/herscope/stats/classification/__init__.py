"""How well classes and probabilities are predicted, and folds that keep patients apart."""
