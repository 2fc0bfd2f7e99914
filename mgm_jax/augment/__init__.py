"""Augmentation of clips for finetuning, on the device."""
