"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fitting import Crash, fit, record

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Precision, StepOptions, Trainer, models
from paddle_resume.environment import prefer_repeatable_kernels
from paddle_resume.metrics import Accuracy
from paddle_resume.owners.tensor_views import views
from paddle_resume.testing import first_differences
from paddle_resume.training.save_schedule import SaveSchedule

pytestmark = pytest.mark.skipif(
    not paddle.is_compiled_with_cuda() or paddle.device.cuda.device_count() == 0, reason="there is no GPU"
)


class Digits(paddle.io.Dataset):
    """Noise with labels, as large as digits are."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.images = random.random((128, 1, 28, 28), np.float32)
        self.labels = random.integers(0, 10, (128, 1))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def __len__(self) -> int:
        return len(self.images)


@pytest.fixture(autouse=True)
def on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paddle.set_device("gpu")
    prefer_repeatable_kernels()


def trained(name: str, level: str | None, dtype: str, *stops: int) -> Trainer:
    """A run of 16 steps, ended and begun again after each of the `stops`."""
    for end in (*stops, 16):
        paddle_resume.seed_everything(5)
        model = models.MNIST()
        made = Trainer(
            model,
            paddle.optimizer.Adam(0.001, parameters=model.parameters(), multi_precision=level == "O2"),
            loss=paddle.nn.CrossEntropyLoss(),
            metrics=[Accuracy()],
            name=name,
            seed=5,
            step=StepOptions(
                precision=Precision(level, dtype, {"init_loss_scaling": 2.0**30, "incr_every_n_steps": 4})
            ),
            schedule=SaveSchedule(every_steps=3),
        )
        made.train(Digits(), epochs=4, max_steps=end, global_batch_size=32)
    return made


def bits(trainer: Trainer) -> list[bytes]:
    """Of weights and optimizer state; without Paddle's names, which count on from run to run in one process."""
    owners = trainer._parts.owners
    tensors = {**owners["model"].state_dict(), **owners["optimizer"].state_dict()}
    return [array.tobytes() for array in tensors.values() if isinstance(array, np.ndarray)]


@pytest.mark.parametrize(("level", "dtype"), [(None, "bfloat16"), ("O1", "float16"), ("O2", "bfloat16")])
def test_a_run_is_the_same_from_one_seed_and_across_resumes(level: str | None, dtype: str) -> None:
    straight = trained("straight", level, dtype)
    assert bits(trained("again", level, dtype)) == bits(straight)
    resumed = trained("resumed", level, dtype, 5, 11)
    assert bits(resumed) == bits(straight)
    assert resumed._parts.precision.state_dict() == straight._parts.precision.state_dict()
    if dtype == "float16":
        assert straight._parts.precision.skipped > 0  # The scale begins far too high, and has to come down.


def test_copies_on_a_stream_of_their_own_are_those_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    straight = trained("straight", None, "float32")
    monkeypatch.setenv("PADDLE_RESUME_GPU_STREAM", "1")
    assert bits(trained("aside", None, "float32", 5, 11)) == bits(straight)


@pytest.mark.parametrize("stream", ["0", "1"])
def test_tensors_copied_together_arrive_bit_for_bit(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PADDLE_RESUME_GPU_STREAM", stream)
    tensors = [paddle.randn([1000, n]).astype(kind) for n in (1, 7) for kind in ("float32", "float16", "bfloat16")]
    arrays = views({str(i): tensor for i, tensor in enumerate(tensors)})
    for tensor, array in zip(tensors, arrays.values()):
        assert array.tobytes() == tensor.numpy().tobytes()


def test_mixed_precision_in_a_fit_of_paddle_model_goes_on_with_its_loss_scale(tmp_path: Path) -> None:
    def row() -> dict[str, object]:
        scaling = {"init_loss_scaling": 2.0**30, "incr_every_n_steps": 4, "decr_every_n_nan_or_inf": 1}
        return {"amp": {"level": "O1", **scaling}}

    fit(tmp_path / "straight", row())
    for batch in (3, 9):
        with pytest.raises(Crash):
            fit(tmp_path / "crashed", row(), ("on_train_batch_end", batch))
    fit(tmp_path / "crashed", row())
    assert first_differences(tmp_path / "straight", tmp_path / "crashed") == []
    assert 0 < record(tmp_path / "crashed").owners["scaler"]["state"]["scale"][0] < 2.0**30
