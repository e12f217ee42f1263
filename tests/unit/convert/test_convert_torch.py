"""Against torch itself, where it is installed: the same numbers out of its files, the same outputs of its models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from torch_files import STORAGES, torch_legacy, torch_zip

from paddle_resume.convert import load_converted, read_source, write_safetensors
from paddle_resume.errors import CheckpointError
from paddle_resume.models import LeNet

torch: Any = pytest.importorskip("torch")

TOLERANCE = 1e-5
DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"]


def raw(tensor: Any) -> bytes:
    """The bytes of a tensor's values, in order."""
    tensor = tensor.detach().contiguous()
    return tensor.view(torch.int16).numpy().tobytes() if tensor.dtype == torch.bfloat16 else tensor.numpy().tobytes()


def largest_difference(paddle_model: Any, torch_model: Any, *inputs: np.ndarray) -> float:
    """Of the outputs in evaluation mode; the first one, where there are several."""
    paddle_model.eval(), torch_model.eval()
    with torch.no_grad(), paddle.no_grad():
        ours = paddle_model(*map(paddle.to_tensor, inputs))
        theirs = torch_model(*map(torch.from_numpy, inputs))
    ours, theirs = (output[0] if isinstance(output, tuple) else output for output in (ours, theirs))
    assert list(ours.shape) == list(theirs.shape) and float(theirs.abs().max()) > 0.05
    return float(np.abs(ours.numpy() - theirs.numpy()).max())


def stir(model: Any) -> Any:
    """The model with statistics and affine weights that are not those of a fresh one."""
    torch.manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.3 + 0.5)
    return model


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("write", [torch_zip, torch_legacy])
def test_the_files_that_the_other_tests_write_are_torch_s_own(write: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {kind: (random.standard_normal((3, 4)) * 9).astype(kind) for kind in STORAGES}
    arrays["scalar"] = np.array(2.5, "float32")
    path = write(tmp_path / "x.pt", {"epoch": 3, "best": None, "state_dict": arrays, "list": [1, True, "x"]})
    loaded = torch.load(path, weights_only=True)
    assert (loaded["epoch"], loaded["best"], loaded["list"]) == (3, None, [1, True, "x"])
    for name, array in arrays.items():
        assert (
            raw(loaded["state_dict"][name]) == array.tobytes()
            and tuple(loaded["state_dict"][name].shape) == array.shape
        )


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_type_that_torch_saves_is_read_bit_for_bit(dtype: str, new: bool, tmp_path: Path) -> None:
    base = (torch.randn(4, 6) * 50).to(getattr(torch, dtype))
    state = {"a": base, "turned": base.t(), "slice": base[1:3, 2:5], "scalar": base[0, 0], "empty": base[:0]}
    state["parameter"] = torch.nn.Parameter(base, requires_grad=False)
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    arrays = read_source(str(tmp_path / "x.pt")).arrays
    assert list(arrays) == list(state)
    for name, tensor in state.items():
        assert arrays[name].tobytes() == raw(tensor) and arrays[name].shape == tuple(tensor.shape), name
        assert str(arrays[name].dtype) == ("uint16" if dtype == "bfloat16" else dtype)


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_training_dictionary_is_read_without_its_other_parts(new: bool, tmp_path: Path) -> None:
    import argparse

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    model(torch.randn(5, 3)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 4,
        "state_dict": torch.nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "rng": torch.get_rng_state(),
        "best": np.float64(0.5),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
    }
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    read = read_source(str(tmp_path / "x.pt"))
    assert read.key == "state_dict"
    ours = paddle.nn.Sequential(paddle.nn.Linear(3, 4), paddle.nn.BatchNorm1D(4))
    load_converted(ours, str(tmp_path / "x.pt"))
    assert ours[0].weight.numpy().tobytes() == raw(model[0].weight.t())
    assert ours[1]._variance.numpy().tobytes() == raw(model[1].running_var)


@pytest.mark.parametrize("new", [True, False])
def test_a_whole_module_is_refused_with_advice(new: bool, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=r"asks for torch.nn.modules.linear.Linear.*torch.save\(model.state_dict"):
        read_source(str(tmp_path / "x.pt"))


def test_torchscript_and_types_that_paddle_lacks_are_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "x.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_source(str(tmp_path / "x.pt"))
    torch.save({"a": torch.ones(2).to(torch.float8_e4m3fn), "b": torch.ones(2).to(torch.uint16)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="a is torch.float8_e4m3fn; b is torch.uint16"):
        read_source(str(tmp_path / "x.pt"))


def test_an_expanded_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1).expand(10**9)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="in a storage of 1 numbers"):
        read_source(str(tmp_path / "x.pt"))


def test_safetensors_go_both_ways_with_torch(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    state = {"a": torch.randn(3, 2).to(torch.bfloat16), "b": torch.randn(4), "c": torch.ones(3, dtype=torch.bool)}
    safetensors.save_file(state, tmp_path / "x.safetensors", {"format": "pt"})
    read = read_source(str(tmp_path / "x.safetensors"))
    assert read.layout == "torch" and {name: array.tobytes() for name, array in read.arrays.items()} == {
        name: raw(tensor) for name, tensor in state.items()
    }
    write_safetensors(tmp_path / "y.safetensors", read.arrays, {})
    back = safetensors.load_file(tmp_path / "y.safetensors")
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in state.items())


# ---------------------------------------------------------------- outputs


def lenet() -> Any:
    nn = torch.nn

    class TorchLeNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            self.features = nn.Sequential(*first, nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
            self.classifier = nn.Sequential(
                nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
            )

        def forward(self, images: Any) -> Any:
            return self.classifier(torch.flatten(self.features(images), 1))

    return TorchLeNet()


def pairs() -> dict[str, tuple[Any, Any, tuple[int, ...]]]:
    """By name: the model in Paddle, the same in torch, and the shape of its inputs."""
    ours, theirs = paddle.nn, torch.nn
    norms = [theirs.BatchNorm2d(4), theirs.PReLU(4), theirs.InstanceNorm2d(4, affine=True), theirs.GroupNorm(2, 4)]
    return {
        "LeNet": (LeNet(), lenet(), (3, 1, 28, 28)),
        "normalizations": (
            ours.Sequential(
                *(
                    ours.Conv2D(3, 4, 3),
                    ours.BatchNorm2D(4),
                    ours.PReLU(4),
                    ours.InstanceNorm2D(4),
                    ours.GroupNorm(2, 4),
                ),
                *(ours.Conv2DTranspose(4, 6, 3, groups=2), ours.Flatten(), ours.Linear(384, 384), ours.LayerNorm(384)),
            ),
            theirs.Sequential(
                *(theirs.Conv2d(3, 4, 3), *norms, theirs.ConvTranspose2d(4, 6, 3, groups=2)),
                *(theirs.Flatten(), theirs.Linear(384, 384), theirs.LayerNorm(384)),
            ),
            (2, 3, 8, 8),
        ),
        "a transformer block": (
            ours.TransformerEncoderLayer(16, 4, 32, activation="gelu", normalize_before=True),
            theirs.TransformerEncoderLayer(16, 4, 32, activation="gelu", norm_first=True, batch_first=True),
            (2, 5, 16),
        ),
        "an encoder": (
            ours.TransformerEncoder(ours.TransformerEncoderLayer(16, 2, 32), 2),
            theirs.TransformerEncoder(theirs.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
            (2, 5, 16),
        ),
        "LSTM": (
            ours.LSTM(6, 4, num_layers=2, direction="bidirect"),
            theirs.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True),
            (2, 5, 6),
        ),
        "GRU": (ours.GRU(6, 4), theirs.GRU(6, 4, batch_first=True), (2, 5, 6)),
        "RNN": (ours.SimpleRNN(6, 4), theirs.RNN(6, 4, batch_first=True), (2, 5, 6)),
    }


@pytest.mark.parametrize("kind", ["LeNet", "normalizations", "a transformer block", "an encoder", "LSTM", "GRU", "RNN"])
def test_a_converted_model_gives_torch_s_outputs(kind: str, tmp_path: Path) -> None:
    ours, theirs, shape = pairs()[kind]
    inputs = np.random.default_rng(0).standard_normal(shape).astype("float32")
    torch.save({"epoch": 1, "model": stir(theirs).state_dict()}, tmp_path / "x.pth")
    assert largest_difference(ours, theirs, inputs) > 100 * TOLERANCE
    load_converted(ours, str(tmp_path / "x.pth"))
    assert largest_difference(ours, theirs, inputs) < TOLERANCE


def test_a_decoder_block_and_an_embedding_give_torch_s_outputs(tmp_path: Path) -> None:
    ours = paddle.nn.TransformerDecoderLayer(16, 4, 32)
    theirs = stir(torch.nn.TransformerDecoderLayer(16, 4, 32, batch_first=True))
    torch.save(theirs.state_dict(), tmp_path / "x.pth")
    load_converted(ours, str(tmp_path / "x.pth"))
    random = np.random.default_rng(0)
    inputs = [random.standard_normal((2, length, 16)).astype("float32") for length in (5, 7)]
    assert largest_difference(ours, theirs, *inputs) < TOLERANCE
    words, vectors = paddle.nn.Embedding(8, 8), torch.nn.Embedding(8, 8)
    torch.save(vectors.state_dict(), tmp_path / "y.pth")
    load_converted(words, str(tmp_path / "y.pth"))
    assert largest_difference(words, vectors, np.arange(8)) == 0


def test_a_square_weight_that_was_not_transposed_would_give_other_outputs(tmp_path: Path) -> None:
    """The negative control: the outputs tell the difference that the shapes do not."""
    theirs = torch.nn.Linear(8, 8)
    write_safetensors(
        tmp_path / "x.safetensors", {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}, {}
    )
    inputs, ours = np.ones((1, 8), "float32") * np.arange(8, dtype="float32"), paddle.nn.Linear(8, 8)
    load_converted(ours, str(tmp_path / "x.safetensors"), layout="paddle")
    assert largest_difference(ours, theirs, inputs) > 100 * TOLERANCE
    load_converted(ours, str(tmp_path / "x.safetensors"), layout="torch")
    assert math.isclose(largest_difference(ours, theirs, inputs), 0, abs_tol=TOLERANCE)
