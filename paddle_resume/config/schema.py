"""The keys of a config file: their types, defaults and meaning, and whether they alter the trajectory."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Optional, Union, get_args

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from paddle_resume.config.checkpoint import BestConfig, CheckpointConfig
from paddle_resume.config.optimizer import OptimizerConfig
from paddle_resume.config.parallel import ParallelConfig
from paddle_resume.config.sections import ASIDE, Component, NotEmpty, Section, matching

FileNamePart = Annotated[
    str,
    matching(
        r"[A-Za-z0-9_][A-Za-z0-9._-]*",
        "a plain part of a file name: letters, digits, '.', '_' and '-', not starting with '.' or '-'",
    ),
]
Device = Annotated[str, matching(r"auto|cpu|gpu(:[0-9]+)?", "auto, cpu, gpu or gpu:N")]


class RunConfig(Section):
    """What the run is called, where it runs and where its files go."""

    name: FileNamePart = Field(description="the first part of every file name of the run", json_schema_extra=ASIDE)
    seed: int = Field(default=1024, ge=0, le=2**32 - 1, description="what every random stream of the run starts from")
    device: Device = Field(
        default="auto", description="where to train; auto = gpu if there is one", json_schema_extra=ASIDE
    )
    save_dir: NotEmpty = Field(
        default="checkpoint", description="the folder of the checkpoints", json_schema_extra=ASIDE
    )
    log_dir: NotEmpty = Field(default="log", description="the folder of the VisualDL records", json_schema_extra=ASIDE)
    model_path: str = Field(
        default="",
        validate_default=True,
        description="the file of the finished model; null = <run.name>.pdparams",
        json_schema_extra=ASIDE,
    )

    @field_validator("model_path", mode="before")
    @classmethod
    def _named_after_the_run(cls, value: Any, info: ValidationInfo) -> Any:
        return f"{info.data.get('name')}.pdparams" if value is None or value == "" else value


class ImageShapeConfig(Section):
    """How the images of mnist and fashion_mnist are changed before anything else, in every part of the data."""

    channels: Optional[Literal[1, 3]] = Field(
        default=None, description="1 (gray) or 3 (color, as most models of paddle.vision take); null = as they are"
    )
    resize: Optional[int] = Field(default=None, ge=1, description="pixels a side; null = as they are")


class DataConfig(Component):
    """Which data there are and how they are cut into batches; `args` go to the dataset's class."""

    name: NotEmpty = Field(
        default="mnist", description="a dataset by its name, or by an import path my_package.module:Class"
    )
    root: Optional[NotEmpty] = Field(
        default=None,
        description="the folder of the data files; null = where Paddle keeps them, or the working directory",
        json_schema_extra=ASIDE,
    )
    fallback: Optional[Literal["digits"]] = Field(
        default=None,
        description="digits = use the small handwritten digits of this package when MNIST is not there; null = stop",
        json_schema_extra=ASIDE,
    )
    global_batch_size: int = Field(
        default=32, ge=1, description="how many samples a batch has, over all processes together"
    )
    num_workers: int = Field(
        default=0,
        ge=0,
        description="processes that load data; 0 = the training process",
        json_schema_extra=ASIDE,
    )
    valid: Union[int, float, str] = Field(
        default="auto",
        description="training samples set aside for validation: a count, a fraction, or auto = one sixth",
    )
    transform: Optional[ImageShapeConfig] = Field(
        default=None, description="another number of channels or size for the images of mnist; null = as they are"
    )
    augment: list[Component] = Field(
        default=[], description="random changes to training images: a list of names and arguments"
    )
    drop_last: bool = Field(default=False, description="whether a last batch that is not full is left out")
    shuffle: bool = Field(default=True, description="whether each epoch has an order of its own")

    @field_validator("fallback")
    @classmethod
    def _digits_stand_in_for_mnist_only(cls, value: Optional[str], info: ValidationInfo) -> Optional[str]:
        name = info.data.get("name", "mnist")
        if value is not None and name != "mnist":
            raise PydanticCustomError(
                "unexpected", "null, as digits stand in for mnist only, not for {name}", {"name": name}
            )
        return value

    @field_validator("valid", mode="before")
    @classmethod
    def _count_fraction_or_auto(cls, value: Any) -> Any:
        is_count = type(value) is int and value >= 1
        is_fraction = type(value) is float and 0 < value < 1
        if not (is_count or is_fraction or value == "auto"):
            raise PydanticCustomError("unexpected", "auto, a count from 1 on, or a fraction between 0.0 and 1.0")
        return value

    @model_validator(mode="after")
    def _only_classes_take_arguments(self) -> DataConfig:
        # Datasets in lower case are this package's and take no arguments: one key too many is a slip.
        if self.model_extra and ":" not in self.name and self.name.islower():
            raise PydanticCustomError("unknown_keys", "unknown keys", {"keys": list(self.model_extra)})
        return self


class MetricConfig(Component):
    """A metric, a class of paddle_resume.metrics or paddle.metric, and what it is kept for."""

    splits: Optional[list[Literal["train", "valid", "test"]]] = Field(
        default=None, description="the parts of the data it is kept for; null = all, for a picture valid and test"
    )
    tag: Optional[NotEmpty] = Field(default=None, description="what it is called in the logs; null = its own name")

    @property
    def args(self) -> dict[str, Any]:
        """The arguments of the metric's class, the tag as its name."""
        return {**super().args, **({"name": self.tag} if self.tag else {})}


class LossConfig(Component):
    """The loss, a class of paddle.nn."""

    name: NotEmpty = Field(default="CrossEntropyLoss", description="a class of paddle.nn, or an import path")


class EmaConfig(Section):
    """An exponential moving average of the weights, in a file `.pdema` beside each checkpoint."""

    decay: float = Field(default=0.999, ge=0, lt=1, description="how much of the average stays at each step")
    warmup: bool = Field(default=True, description="whether the decay begins small, so that a young average follows")
    evaluate: bool = Field(
        default=True, description="whether evaluations and the finished model use the average in place of the weights"
    )


class TrainerConfig(Section):
    """How long to train and what to tell about it."""

    epochs: int = Field(default=3, ge=1, description="passes over the training data", json_schema_extra=ASIDE)
    max_steps: Optional[int] = Field(
        default=None,
        ge=1,
        description="stop after this many steps; null = after all epochs",
        json_schema_extra=ASIDE,
    )
    limit_batches: Optional[int] = Field(
        default=None,
        ge=1,
        description="end each epoch, and each evaluation, after this many batches, to try a run; null = all batches",
    )
    log_every: int = Field(default=100, ge=1, description="steps between two lines of the log", json_schema_extra=ASIDE)
    evaluate_every: Optional[int] = Field(
        default=None,
        ge=1,
        description="steps between two evaluations; null = after each epoch",
        json_schema_extra=ASIDE,
    )
    check_resume: Optional[int] = Field(
        default=None,
        ge=1,
        description="steps to go back at each resume, to make them again and compare; null = no more than is needed",
        json_schema_extra=ASIDE,
    )
    accumulate_steps: int = Field(
        default=1,
        ge=1,
        description="batches whose gradients make up one step, as one batch so many times as large would",
    )
    amp: Optional[Literal["O1", "O2"]] = Field(
        default=None, description="mixed precision on a GPU: O1 or O2; null = float32"
    )
    amp_dtype: Literal["bfloat16", "float16"] = Field(default="bfloat16", description="the shorter type of amp")
    ema: Optional[EmaConfig] = Field(default=None, description="an average of the weights; null = none")
    on_nan: Literal["stop", "skip", "rollback", "ignore"] = Field(
        default="stop", description="what a loss that is NaN or infinite does", json_schema_extra=ASIDE
    )
    rollback_lr: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="what on_nan: rollback multiplies the learning rate with, each time",
        json_schema_extra=ASIDE,
    )
    max_rollbacks: int = Field(
        default=3, ge=1, description="after so many rollbacks the run stops", json_schema_extra=ASIDE
    )


class Config(Section):
    """A whole run, checked and complete."""

    run: RunConfig = Field(description="the run: name, seed, device and folders")
    model: Component = Field(description="the model: its name and its arguments")
    data: DataConfig = Field(default=DataConfig(), description="the data")
    loss: LossConfig = Field(default=LossConfig(), description="the loss")
    metrics: list[MetricConfig] = Field(
        default=[MetricConfig(name="Accuracy")],
        description="the metrics: a list of names and arguments",
        json_schema_extra=ASIDE,
    )
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="the optimizer and its learning rate")
    trainer: TrainerConfig = Field(default=TrainerConfig(), description="the training loop")
    best: Optional[BestConfig] = Field(
        default=None, description="keep the checkpoint of the best evaluation, as <run.name>_best; null = do not"
    )
    checkpoint: CheckpointConfig = Field(
        default=CheckpointConfig(), description="the checkpoints", json_schema_extra=ASIDE
    )
    parallel: ParallelConfig = Field(default=ParallelConfig(), description="training with several processes")
    callbacks: list[Component] = Field(
        default=[], description="what else looks into the run or takes part in it: a list of names and arguments"
    )

    def to_dict(self) -> dict[str, Any]:
        """The complete config, defaults included, as plain values that JSON can hold."""
        return self.model_dump()


def defaults() -> dict[str, Any]:
    """The value of every top-level key that a config file may leave out."""
    values = Config.model_construct()  # fills in the defaults and asks for nothing
    return {key: value for key, value in values.model_dump().items() if key not in ("run", "model")}


def model_in(annotation: Any) -> Optional[type[Section]]:
    """The section that a field holds, also inside a list or a union; None for a plain value."""
    arguments = get_args(annotation)
    if arguments:  # asked first: Python 3.9 takes list[Component] itself for a class
        return next(filter(None, map(model_in, arguments)), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


def model_at(path: tuple[Any, ...]) -> Optional[type[Section]]:
    """The section at a key path such as `("optimizer", "lr")`; None where the schema has none."""
    model: Optional[type[Section]] = Config
    for key in path:
        if isinstance(key, int):  # an item of a list is of the same section as the list
            continue
        field = model.model_fields.get(key) if model else None
        model = model_in(field.annotation) if field else None
    return model
