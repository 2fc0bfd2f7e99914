"""On the device: planes to RGB, resizing and augmentation. Pure functions of arrays.

Imports nothing else of the project.
"""
