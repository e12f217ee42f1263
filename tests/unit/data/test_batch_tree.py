"""Batches have the structure of a sample, with tensors in it, whoever loads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest
from PIL import Image

from paddle_resume import Feed
from paddle_resume.data.batch import Batch, NamedBatch
from paddle_resume.data.batch_tree import Ragged, collate, part_of, samples_in, tensors
from paddle_resume.errors import DataError


class Samples(paddle.io.Dataset):
    """`count` samples, each made by `make` of its index."""

    def __init__(self, make: Any, count: int = 6) -> None:
        self.make, self.count = make, count

    def __getitem__(self, index: int) -> Any:
        return self.make(index)

    def __len__(self) -> int:
        return self.count


class OwnBatches(Samples):
    """Makes its batches itself, as a config cannot say it."""

    def collate_fn(self, samples: list[Any]) -> Any:
        longest = max(len(each) for each in samples)
        return {"words": np.stack([np.pad(each, (0, longest - len(each))) for each in samples])}


def boxes(index: int) -> np.ndarray:
    return np.full([index % 3 + 1, 4], index, np.float32)


def nested(index: int) -> dict[str, Any]:
    point = np.full(2, index, np.float32)
    return {"point": point, "more": (point, {"name": f"n{index}", "boxes": boxes(index)}), "label": index}


def of(make: Any, workers: int = 0, **options: Any) -> list[Any]:
    data = make if isinstance(make, Samples) else Samples(make)
    feed = Feed(data, batch_size=4, shuffle=False, num_workers=workers, **options)
    return list(feed.remaining())


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.pythons)])
def test_dicts_tuples_and_ragged_fields_arrive_as_tensors_in_their_structure(workers: int) -> None:
    batch = of(nested, workers)[0]
    assert isinstance(batch, NamedBatch) and list(batch) == ["point", "more", "label"]
    assert type(batch["more"]) is tuple and batch["more"][1]["name"] == ["n0", "n1", "n2", "n3"]
    assert [name for name, _ in tensors(batch)] == [
        "point",
        "more.0",
        *(f"more.1.boxes.{i}" for i in range(4)),
        "label",
    ]
    assert all(isinstance(each, paddle.Tensor) for each in batch["more"][1]["boxes"])
    assert [each.shape for each in batch["more"][1]["boxes"]] == [[1, 4], [2, 4], [3, 4], [1, 4]]
    assert (batch.local_size, batch.global_size) == (4, 4)
    assert batch.label.tolist() == [0, 1, 2, 3] and list(batch.inputs) == ["point", "more"]


def test_a_plain_batch_is_the_one_that_paddle_makes() -> None:
    def plain(index: int) -> tuple[np.ndarray, int]:
        return np.full(3, index, np.float32), index

    batch = of(plain)[0]
    loaded = next(iter(paddle.io.DataLoader(Samples(plain), batch_size=4)))
    assert isinstance(batch, Batch)
    assert [(t.dtype, t.numpy().tobytes()) for t in batch] == [(t.dtype, t.numpy().tobytes()) for t in loaded]


def test_a_dataset_makes_its_own_batches_also_where_a_part_of_it_is_fed() -> None:
    data = OwnBatches(lambda index: np.arange(index + 1))
    assert of(data)[0]["words"].shape == [4, 4]
    part = paddle.io.Subset(data, [0, 1])
    assert next(Feed(part, batch_size=2, shuffle=False).remaining())["words"].shape == [2, 2]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (lambda index: "7" if index == 2 else index, r"dataset\[2\] has '7' where the others of its batch have whole"),
        (lambda index: 0.5 if index == 3 else index, r"dataset\[3\] has 0.5 where the others of its batch have whole"),
        (lambda index: index if index == 1 else np.full(2, 0.5), r"dataset\[1\] has 1 where .* have numbers with"),
    ],
)
def test_a_sample_of_another_type_is_named_by_its_index(odd: Any, told: str, workers: int) -> None:
    with pytest.raises(DataError, match=told):
        of(lambda index: (np.zeros(2, np.float32), odd(index)), workers)


def test_a_part_of_a_batch_is_a_part_of_all_its_fields() -> None:
    batch = of(nested)[0]
    part = part_of(batch, slice(1, 3))
    assert part["label"].tolist() == [1, 2] and samples_in(part) == 2
    assert isinstance(part["more"][1]["boxes"], Ragged) and len(part["more"][1]["boxes"]) == 2
    pieces = list(batch.micro_batches(3))
    assert [(type(each), each.local_size, each.global_size) for each in pieces] == [(NamedBatch, 2, 4)] * 2


def test_a_batch_of_what_has_no_length_has_no_samples() -> None:
    assert samples_in([paddle.to_tensor(1.0)]) == 0
    assert collate([np.zeros(2), np.zeros(2)]).shape == (2, 2)


ODD = {
    "no sample": (lambda usual: None, r"dataset\[2\] has None where the others of its batch have 2 fields"),
    "a field more": (
        lambda usual: (*usual, 1),
        r"dataset\[2\] has 3 fields where the others of its batch have 2 fields",
    ),
    "a field of None": (lambda usual: (usual[0], None), r"dataset\[2\] has None where .* have whole numbers"),
    "a name more": (
        lambda usual: {"x": usual[0], "y": usual[1], "z": 1},
        r"dataset\[2\] has the fields 'x', 'y', 'z' where the others of its batch have the fields 'x', 'y'",
    ),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ODD)
def test_a_sample_of_another_structure_is_named_by_its_index(kind: str, workers: int) -> None:
    odd, told = ODD[kind]
    by_name = kind == "a name more"

    def sample(index: int) -> Any:
        usual = (np.zeros(2, np.float32), index)
        return odd(usual) if index == 2 else {"x": usual[0], "y": index} if by_name else usual

    with pytest.raises(DataError, match=told):
        of(sample, workers)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("held", "what"), [(None, "None"), ({1}, "a set"), (Image.new("L", (2, 2)), "an Image"), (object(), "an object")]
)
def test_what_no_batch_can_hold_is_told_with_what_can_be(held: Any, what: str, workers: int) -> None:
    with pytest.raises(DataError, match=rf"dataset\[0\] has {what}, which no batch can hold; expected arrays, tensors"):
        of(lambda index: (held, index), workers)


@pytest.mark.parametrize(
    ("limit", "drop_last", "fed"), [(None, False, [4, 2]), (1, False, [4]), (9, True, [4]), (2, False, [4, 2])]
)
def test_a_limit_ends_each_epoch_and_counts_as_its_length(limit: int, drop_last: bool, fed: list[int]) -> None:
    feed = Feed(Samples(lambda index: (np.zeros(1), index)), batch_size=4, limit_batches=limit, drop_last=drop_last)
    for _ in range(2):
        assert [batch.local_size for batch in feed.remaining()] == fed
        assert feed.exhausted and feed.batches_per_epoch == len(fed)
        feed.finish_epoch()
    assert len(list(feed.from_start())) == len(list(feed.round_robin())) == len(fed)
    assert feed.identity().get("limit_batches") == limit
