"""A training step compiled ahead of time: chips, HLO, collectives, memory traffic, roofline.

May import training and what is below it; imports no command.
"""
