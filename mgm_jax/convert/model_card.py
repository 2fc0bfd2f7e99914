"""The model card (README.md) of an exported folder: how to feed the model, and how it was made."""

import json
from collections.abc import Mapping
from typing import Any

from mgm_jax import base_config, detect_config
from mgm_jax import config as config_lib
from mgm_jax.io import AnyPath
from mgm_jax.training.runs import Run

_RESULTS = "evaluation.json"  # Of `evaluation.results`.


def describe_run(run: Run, workdir: AnyPath) -> dict[str, str]:
    """The sections of a card that a run can fill, by their titles."""
    config, sections = run.config, {"Recipe": _recipe(run)}
    if run.manifest:
        sections["Data"] = (
            f"{len(run.manifest['videos'])} training videos of {len(run.class_names)} classes, "
            f"split `{config.data.split}` of `{config.data.path}`."
        )
    results = workdir / _RESULTS
    if results.is_file():
        numbers = json.loads(results.read_text())
        if numbers.get("step") == run.step and numbers.get("top1") is not None:
            sections["Accuracy"] = (
                f"Top-1 {100 * numbers['top1']:.2f} % of {numbers['num_counted']} videos, with "
                f"{numbers['temporal_views']} temporal and {numbers['spatial_views']} spatial "
                "views of each."
            )
            if "videos" in numbers:
                sections["Accuracy"] += f" The videos: `{numbers['videos']}`."
            if numbers.get("changes"):
                changes = ", ".join(numbers["changes"])
                sections["Accuracy"] += f" Clips were not those of training: {changes}."
            if config.eval.allow_overlap or numbers.get("allow_overlap"):
                sections["Accuracy"] += " The evaluation allowed videos that were trained on."
    return sections


def _recipe(run: Run) -> str:
    """The values in which a run's config differs from the defaults of its task."""
    task = run.config.task
    start = detect_config.detect() if task == "detect" else getattr(base_config, task)()
    defaults = dict(config_lib.flatten(config_lib.to_json(start)))
    changed = [
        f"{name} = {json.dumps(value)}"
        for name, value in config_lib.flatten(config_lib.to_json(run.config))
        if defaults.get(name) != value
    ]
    lines = "\n".join(changed)
    return (
        f"{run.step} steps of `mgm_jax`, with `base_config.{task}()` and these values:\n\n"
        f"```\n{lines}\n```"
    )


def _choice(frames: int, stride: int | str | None) -> list[str]:
    """The lines that choose a clip as one test view (`data.sampling`); without stride, segments."""
    looped = [f"if len(frames) < {frames}:", f"    clip = (frames * {frames})[:{frames}]", "else:"]
    if stride is None:
        return [
            *looped,
            f"    places = [int((i + 0.5) * len(frames) / {frames}) for i in range({frames})]",
            "    clip = [frames[place] for place in places]",
        ]
    if stride == "STRIDE":
        looped.insert(0, "# STRIDE, the frames from one sampled frame to the next, is not known.")
    return [
        *looped,
        f"    frames = frames[::{stride}]",
        f"    first = max(len(frames) - {frames}, 0) // 2",
        f"    clip = [frames[min(first + i, len(frames) - 1)] for i in range({frames})]",
    ]


def make_card(config: Mapping[str, Any], training: Mapping[str, str]) -> str:
    """The text of a card.

    Args:
        config: The folder's config.json.
        training: Sections by title (`describe_run`); empty if it is not known.
    """
    classes = config.get("id2label", {})
    task = "video-classification" if classes else "feature-extraction"
    size, frames = config["image_size"], config["num_frames"]
    stride = config.get("frame_sampling_rate")
    if config["frame_sampling"] == "segments":
        spacing = "one from each of equal parts of the video"
    else:
        spacing = f"{stride or 'an unknown number of'} frames apart"
    lines = [
        *("---", "library_name: transformers", f"pipeline_tag: {task}"),
        *("tags: [videomae, video, mgm_jax]", "---", ""),
        f"# VideoMAE {'classifier' if classes else 'autoencoder'}",
        "",
        f"Input: {frames} frames, {spacing}; short side resized to {size} pixels, centre crop of "
        f"{size}x{size}, RGB from 0 to 1, normalised by the mean and standard deviation in "
        "`preprocessor_config.json`.",
    ]
    if classes:
        lines += [
            *("", "```python", "import av", "import transformers", ""),
            "model = transformers.VideoMAEForVideoClassification.from_pretrained(FOLDER).eval()",
            "model.fc_norm.eps = 1e-6  # As trained; transformers sets 1e-5.",
            "processor = transformers.VideoMAEImageProcessor.from_pretrained(FOLDER)",
            'video = av.open("a.mp4").decode(video=0)',
            'frames = [frame.to_ndarray(format="rgb24") for frame in video]',
            *_choice(
                frames, None if config["frame_sampling"] == "segments" else stride or "STRIDE"
            ),
            'inputs = processor(clip, return_tensors="pt")',
            "probabilities = model(**inputs).logits.softmax(-1)",
            *("```", "", "`transformers.pipeline` takes other frames of a video.", ""),
            f"Classes ({len(classes)}): {', '.join(classes.values())}.",
        ]
    for title, text in training.items():
        lines += ["", f"## {title}", "", text]
    return "\n".join(lines) + "\n"
