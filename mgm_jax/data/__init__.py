"""Host side: from video files to batches of planes, crops and motion."""
