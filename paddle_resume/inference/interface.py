"""What a model takes and gives, learned from its config and from real samples of its data."""

from __future__ import annotations

import inspect
from typing import Any, Optional, get_args

import numpy as np
import paddle

from paddle_resume.builders.data import DataSplits
from paddle_resume.config import Config
from paddle_resume.data.feed import Feed
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.data.mnist import label_names
from paddle_resume.errors import ConfigError, ExportError, own_sentence
from paddle_resume.inference.description import Dtype, ImageFormat, Interface, Scores, TensorSpec

SAMPLES = 64
_NAMED_CLASSES = ("mnist", "fashion_mnist")


def evaluation_part(data: DataSplits) -> Any:
    """The dataset that the model is tried on: test, else validation, else training data."""
    return next(part for part in (data.test, data.valid, data.train) if part is not None)


def sample_inputs(config: Config, data: DataSplits) -> list[np.ndarray]:
    """The inputs of the first samples of the evaluation data, each [N, ...], with N up to SAMPLES.

    Raises ExportError for samples that are not arrays.
    """
    feed = Feed(evaluation_part(data), batch_size=SAMPLES, shuffle=False, seed=config.run.seed)
    batch = next(feed.from_start())
    inputs = (batch[:-1] or batch) if isinstance(batch, list) else [batch]
    strange = next((part for part in inputs if not isinstance(part, paddle.Tensor)), None)
    if strange is not None:
        raise ExportError(
            f"data {config.data.name}: a sample holds a {type(strange).__name__}; only a model whose inputs are "
            "arrays can be exported."
        )
    return [part.numpy() for part in inputs]


def model_outputs(model: paddle.nn.Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The outputs of `model` in evaluation mode, in the order in which an export gives them."""
    model.eval()
    with paddle.no_grad():
        return flatten_outputs(model(*(paddle.to_tensor(array) for array in inputs)))


def first_outputs(config: Config, model: paddle.nn.Layer, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """`model_outputs` of a model that meets its data for the first time; raises ConfigError if it cannot take it."""
    try:
        return model_outputs(model, inputs)
    except Exception as error:
        shapes = ", ".join(f"{array.dtype} {list(array.shape)}" for array in inputs)
        raise ConfigError(
            f"model {config.model.name} and data {config.data.name} do not go together: inputs of {shapes} failed with "
            f"{own_sentence(error)}"
        ) from error


def flatten_outputs(output: Any) -> list[np.ndarray]:
    """The tensors of a nested output, in Paddle's own order."""
    return [part.numpy() for part in paddle.utils.flatten(output) if isinstance(part, paddle.Tensor)]


def describe(
    config: Config, model: paddle.nn.Layer, data: DataSplits, inputs: list[np.ndarray], outputs: list[np.ndarray]
) -> Interface:
    """The interface of `model`, from inputs and outputs of a batch."""
    specs = [_spec(name, array) for name, array in zip(_input_names(model, len(inputs)), inputs)]
    results = [_spec(f"output_{i}", array) for i, array in enumerate(outputs)]
    count = outputs[0].shape[-1] if outputs and outputs[0].ndim == 2 else None
    return Interface(
        inputs=specs,
        outputs=results,
        scores=_scores(config),
        classes=_classes(config, data, count),
        image=_image_format(evaluation_part(data)) if len(inputs) == 1 else None,
    )


def _spec(name: str, array: np.ndarray) -> TensorSpec:
    if str(array.dtype) not in get_args(Dtype):
        raise ExportError(f"{name} is {array.dtype}; only {', '.join(get_args(Dtype))} can be exported.")
    return TensorSpec.model_validate({"name": name, "shape": [None, *array.shape[1:]], "dtype": str(array.dtype)})


def _input_names(model: paddle.nn.Layer, count: int) -> list[str]:
    """The names of the arguments of `forward`; numbered ones where it takes them all as `*args`."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind in kinds][:count]
    return names + [f"input_{i}" for i in range(len(names), count)]


def _scores(config: Config) -> Scores:
    """What the output of a model is that was trained with this loss."""
    if config.loss.name == "CrossEntropyLoss":
        return "logits" if config.loss.args.get("use_softmax", True) else "probabilities"
    return "log_probabilities" if config.loss.name == "NLLLoss" else "scores"


def _classes(config: Config, data: DataSplits, count: Optional[int]) -> Optional[list[str]]:
    """The names of the classes, if they are known and as many as the outputs."""
    if config.data.name in _NAMED_CLASSES:
        names = list(label_names(config.data.name))
    else:
        names = list(getattr(_whole(evaluation_part(data)), "classes", None) or [])
    return names if len(names) == count and all(isinstance(name, str) for name in names) else None


def _whole(part: Any) -> Any:
    """The dataset itself, where `part` is a share of it."""
    return _whole(part.dataset) if isinstance(part, paddle.io.Subset) else part


def _image_format(part: Any) -> Optional[ImageFormat]:
    """The way from a picture to a sample; known for images that are scaled and nothing else."""
    if not isinstance(part, ImageArrays) or part.transform is not None:
        return None
    mode = {1: "L", 3: "RGB"}.get(part.images.shape[-1])
    if mode is None:
        return None
    _, height, width, _ = part.images.shape
    background = int(np.median(border_pixels(part.images[:SAMPLES])))
    return ImageFormat.model_validate({"mode": mode, "height": height, "width": width, "background": background})


def border_pixels(images: np.ndarray) -> np.ndarray:
    """The outermost pixels of images [..., H, W, C], in one row."""
    sides = (images[..., 0, :, :], images[..., -1, :, :], images[..., :, 0, :], images[..., :, -1, :])
    return np.concatenate([side.ravel() for side in sides])
