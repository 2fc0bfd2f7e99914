"""Accuracy of a model: views, predictions, reports.

Imports everything below the commands.
"""
