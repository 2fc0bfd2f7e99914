"""Motion-guided masking for video masked autoencoders."""

__version__ = "0.2.0"
