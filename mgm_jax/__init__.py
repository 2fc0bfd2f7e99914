"""Motion-guided masking for video masked autoencoders."""
