"""Everything that draws: sheets of clips, charts of a run's numbers.

Imports training and what is below it; of the packages above, evaluation and the commands use it.
"""
