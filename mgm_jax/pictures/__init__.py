"""Everything that draws.

Imports training and what is below it.
"""
