"""Everything that draws: sheets and animations of clips, charts of a run's numbers.

Imports training and what is below it; of the packages above, evaluation and the commands use it.

- `gallery`: reads a few clips and writes their pictures: masks, reconstructions, attention.
- `sheets`: the rows of pictures of one clip.
- `overlays`: masks, boxes and attention drawn over frames.
- `motion_colours`: motion maps in the colours of the optical-flow wheel.
- `reconstruction`: from a model's predictions back to frames.
- `attention_maps`: the attention weights of one token.
- `figures`: labelled grids of pictures (matplotlib).
- `charts`: curves and the confusion matrix (matplotlib).
- `strips`: a few frames of a video side by side.
- `image_files`: PNG and animated WebP files (Pillow).
"""
