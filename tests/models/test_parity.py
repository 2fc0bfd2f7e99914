"""The models against Hugging Face's VideoMAE, in float32, on random weights, masks and clips.

Its LayerNorms have eps 1e-12 in the blocks, or what the config says, and always 1e-5 in `fc_norm`
and the decoder; VideoMAE was trained with 1e-6 everywhere, and so they are set here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from random_weights import random_params

from mgm_jax.convert import hugging_face, layouts
from mgm_jax.convert.architecture import Architecture
from mgm_jax.convert.weights import Weights, write_hugging_face
from mgm_jax.models import classifier, mae
from mgm_jax.models import patches as patches_lib
from mgm_jax.models.layers import TransformerConfig
from mgm_jax.preprocessing import rgb
from mgm_jax.training import losses

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch", reason="parity with Hugging Face needs torch")
transformers = pytest.importorskip(
    "transformers", reason="parity with Hugging Face needs transformers"
)

CLASSES = 7

# Name: encoder, decoder, tubelet, frames, size.
SHAPES = {
    "like_small": (TransformerConfig(48, 2, 6), TransformerConfig(24, 1, 3), (2, 16, 16), 8, 64),
    "like_base": (TransformerConfig(96, 1, 12), TransformerConfig(48, 2, 6), (2, 16, 16), 4, 64),
    "odd": (TransformerConfig(40, 2, 5, 3.0), TransformerConfig(56, 1, 7, 3.0), (3, 8, 8), 9, 24),
}


def hugging_face_model(name, shape, architecture, normalised=True):
    """A model of Hugging Face's with random weights, biases and scales."""
    *_, frames, size = shape
    classes = tuple("abcdefg") if architecture.num_classes else ()
    config = hugging_face.make_config(architecture, frames, size, classes, normalised)
    config = transformers.VideoMAEConfig(**config, attn_implementation="eager")
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            # Like Xavier's, so that signals keep their size through any depth.
            torch.nn.init.normal_(parameter, 0, (2 / sum(parameter.shape[:2])) ** 0.5)
        else:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return model


def to_ours(tensors, architecture):
    """Hugging Face's tensors, or their gradients, as our tree."""
    state = {name: value.detach().numpy() for name, value in tensors}
    layout, state = layouts.find_layout(state, "transformers")
    flat = layouts.from_state(state, architecture, layout, "transformers")
    return jax.tree.map(jnp.asarray, traverse_util.unflatten_dict(flat, sep="/"))


def gradients_of(model):
    return [(name, parameter.grad) for name, parameter in model.named_parameters()]


def random_clips(shape, batch=2):
    *_, frames, size = shape
    clips = np.random.default_rng(1).random((batch, frames, size, size, 3))
    return jnp.asarray(clips, jnp.float32)


def to_torch(clips):
    pixels = np.array(rgb.normalise(clips))
    return torch.tensor(pixels).permute(0, 1, 4, 2, 3)


def token_grid(shape):
    *_, tubelet, frames, size = shape
    return (frames // tubelet[0], size // tubelet[1], size // tubelet[2])


def random_mask(shape, batch=2):
    tokens = int(np.prod(token_grid(shape)))
    r = np.random.default_rng(2)
    order = np.stack([r.permutation(tokens) for _ in range(batch)])
    return order < round(0.7 * tokens)


def ids(mask):
    return jnp.asarray(np.stack([np.flatnonzero(row) for row in mask]))


def assert_close(ours, theirs, tolerance, name=""):
    ours = np.asarray(ours)
    theirs = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    largest = np.abs(theirs).max()
    assert largest > 0, name
    assert np.abs(ours - theirs).max() <= tolerance * largest, name


def assert_same_gradients(ours, model, architecture):
    theirs = to_ours(gradients_of(model), architecture)
    ours = traverse_util.flatten_dict(ours, sep="/")
    theirs = traverse_util.flatten_dict(theirs, sep="/")
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert_close(value, theirs[name], 1e-3, name)


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def pretraining(model, params, clips, visible, masked, tubelet, normalised):
    def loss(params):
        predictions, captured = model.apply(
            {"params": params},
            rgb.normalise(clips),
            visible,
            masked,
            capture_intermediates=lambda module, _: module.name == "encoder",
        )
        (tokens,) = captured["intermediates"]["encoder"]["__call__"]
        patches = patches_lib.gather_tokens(patches_lib.patchify(clips, tubelet), masked)
        target = losses.pixel_target(patches, normalised)
        value = losses.masked_mse(predictions, target, jnp.ones(len(clips)))
        return value, (tokens, predictions)

    (value, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, *outputs, gradient


@pytest.mark.parametrize(
    ("name", "normalised"), [("like_small", True), ("like_base", False), ("odd", True)]
)
def test_pretraining(name, normalised):
    shape = encoder, decoder, tubelet, *_ = SHAPES[name]
    architecture = Architecture(encoder, tubelet, decoder)
    theirs = hugging_face_model("VideoMAEForPreTraining", shape, architecture, normalised)
    params = to_ours(theirs.named_parameters(), architecture)
    model = mae.MaskedAutoencoder(encoder, decoder, token_grid(shape), tubelet)
    clips, mask = random_clips(shape), random_mask(shape)
    loss, tokens, predictions, gradient = pretraining(
        model, params, clips, ids(~mask), ids(mask), tubelet, normalised
    )

    outputs = theirs(to_torch(clips), bool_masked_pos=torch.tensor(mask))
    outputs.loss.backward()
    encoded = theirs.videomae(to_torch(clips), bool_masked_pos=torch.tensor(mask))
    assert_close(tokens, encoded.last_hidden_state, 1e-4)
    in_order = predictions.swapaxes(2, 3).reshape(outputs.logits.shape)
    assert_close(in_order, outputs.logits, 1e-4)
    assert_close(loss, outputs.loss, 1e-4)
    assert_same_gradients(gradient, theirs, architecture)


def test_plain_pixels_are_exported_as_rgb(tmp_path):
    shape = encoder, decoder, tubelet, frames, size = SHAPES["odd"]
    architecture = Architecture(encoder, tubelet, decoder)
    params = random_params(architecture)
    plain = Weights(params, architecture, "ours", frames, size, norm_pix_loss=False)
    write_hugging_face(tmp_path / "model", plain)
    theirs = transformers.VideoMAEForPreTraining.from_pretrained(tmp_path / "model").eval()
    clips, mask = random_clips(shape), random_mask(shape)
    model = mae.MaskedAutoencoder(encoder, decoder, token_grid(shape), tubelet)
    tree = {"params": traverse_util.unflatten_dict(params, sep="/")}
    ours = model.apply(tree, rgb.normalise(clips), ids(~mask), ids(mask))
    logits = theirs(to_torch(clips), bool_masked_pos=torch.tensor(mask)).logits
    in_order = rgb.denormalise(ours, -2).swapaxes(2, 3).reshape(logits.shape)
    assert_close(in_order, logits, 1e-4)


@functools.partial(jax.jit, static_argnums=0)
def classification(model, params, clips, labels):
    def loss(params):
        logits, captured = model.apply(
            {"params": params},
            rgb.normalise(clips),
            capture_intermediates=lambda _, method: method == "features",
        )
        (features,) = captured["intermediates"]["features"]
        value = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return value, (features, logits)

    (value, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return value, *outputs, gradient


@pytest.mark.parametrize("name", ["like_base", "odd"])
def test_classification(name):
    shape = encoder, _, tubelet, *_ = SHAPES[name]
    architecture = Architecture(encoder, tubelet, None, CLASSES, final_norm=False)
    theirs = hugging_face_model("VideoMAEForVideoClassification", shape, architecture)
    params = to_ours(theirs.named_parameters(), architecture)
    model = classifier.Classifier(encoder, token_grid(shape), CLASSES, tubelet)
    clips, labels = random_clips(shape), np.array([2, 5])
    loss, features, logits, gradient = classification(model, params, clips, jnp.asarray(labels))

    outputs = theirs(to_torch(clips), labels=torch.tensor(labels))
    outputs.loss.backward()
    encoded = theirs.videomae(to_torch(clips)).last_hidden_state
    assert_close(features, encoded.mean(1), 1e-4)
    assert_close(logits, outputs.logits, 1e-4)
    assert_close(loss, outputs.loss, 1e-4)
    assert_same_gradients(gradient, theirs, architecture)
