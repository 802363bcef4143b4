"""Scores: how well a mask or a probability agrees with the truth (paper, Evaluation)."""
