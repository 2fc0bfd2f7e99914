"""Parameters in other programs' files: Hugging Face's and the original VideoMAE's."""
