"""Models of the Hugging Face Hub: downloaded once, read from the local cache from then on."""

import re

import huggingface_hub
from absl import logging
from huggingface_hub import errors

from mgm_jax.errors import CheckpointError
from mgm_jax.io import AnyPath, make_path

# The first of each group that there is; a model may lack the last one.
_FILES = (("config.json",), ("model.safetensors", "pytorch_model.bin"))
_OPTIONAL = ("preprocessor_config.json",)


def find_model(source: str | AnyPath) -> AnyPath:
    """The path of a model: as given, or the local folder of a model of the Hub (`OWNER/NAME`).

    A file or folder that exists comes before a model of the same name. With a network the newest
    files are downloaded, and without one, or with `HF_HUB_OFFLINE=1`, those of an earlier download
    are taken (`HF_HOME` says where they are).

    Raises:
        CheckpointError: The model is neither in the cache nor can it be downloaded.
    """
    path = make_path(source)
    name = str(source)
    if path.exists() or not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        return path
    try:
        for choices in _FILES:
            file = make_path(_first_of(name, choices))
        for optional in _OPTIONAL:
            try:
                _first_of(name, (optional,))
            except errors.LocalEntryNotFoundError:
                logging.warning("%s: %s is not in the cache, and not to be fetched", name, optional)
            except errors.EntryNotFoundError:
                logging.info("%s has no %s", name, optional)
    except (OSError, errors.EntryNotFoundError, errors.HfHubHTTPError) as error:
        raise CheckpointError(
            f"{name} is no file or folder here, and cannot be taken from the Hugging Face Hub "
            f"({str(error).strip().splitlines()[0]}). Where there is a network, fetch it with\n"
            f"  hf download {name} --local-dir DIR\n"
            "(after `hf auth login` if it is not public), bring DIR here, and give that instead"
        ) from error
    logging.info("%s is in %s", name, file.parent)
    return file.parent


def _first_of(name: str, choices: tuple[str, ...]) -> str:
    for choice in choices[:-1]:
        try:
            return huggingface_hub.hf_hub_download(name, choice)
        except errors.EntryNotFoundError:  # Neither there nor, without a network, in the cache.
            continue
    return huggingface_hub.hf_hub_download(name, choices[-1])
