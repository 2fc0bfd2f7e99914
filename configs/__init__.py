"""Recipes: one file per training, with the command, the data and the paper's numbers on top."""
