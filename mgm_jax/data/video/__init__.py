"""Decoding: container tables, packets, decoder, planes.

Imports errors and io alone.
"""
