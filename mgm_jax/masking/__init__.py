"""Which tokens are hidden: strategies, moving boxes, motion maps, statistics of masks.

Imports config and errors alone.
"""
