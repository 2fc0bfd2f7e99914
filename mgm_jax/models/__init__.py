"""The networks, as Linen modules: masked autoencoder, classifier, linear probe, detector.

A model is made from a run's config by `mae.make_autoencoder`, `classifier.make_classifier`,
`classifier.make_linear_probe` or `detector.make_detector`. Each module imports only modules before
it in this order: layers, patches, flash, attention, timesformer, blocks, vit, mae, classifier,
detector. Outside the package they import `mgm_jax.errors` alone. They name no mesh axis and no
device; `flash` asks for the platform.

Everywhere, `grid` is the token grid (t, h, w) and `tubelet` a tubelet's frames, rows and columns.
"""
