"""A training step compiled ahead of time: chips, HLO, collectives, memory traffic, roofline.

Imports training and what is below it.
"""
