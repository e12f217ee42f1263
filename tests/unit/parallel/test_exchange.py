"""The order in which an elastic run adds up, and what travels in its one buffer."""

from __future__ import annotations

from itertools import chain

import numpy as np
import paddle
import pytest

from paddle_resume.data.batch import Batch, SharedBatch, share, shares_of
from paddle_resume.data.feed import Feed
from paddle_resume.data.image_arrays import ImageArrays
from paddle_resume.errors import ConfigError, StateError
from paddle_resume.parallel.exchange import HALVING, SERVER, Tree
from paddle_resume.parallel.fused_buffer import FusedBuffer
from paddle_resume.parallel.shared_buffers import SharedBuffers
from paddle_resume.parallel.shares import Shares
from paddle_resume.parallel.world import World


def in_pairs(parts: list[np.ndarray]) -> np.ndarray:
    while len(parts) > 1:
        parts = [parts[i] + parts[i + 1] for i in range(0, len(parts), 2)]
    return parts[0]


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_a_tree_adds_in_pairs_and_a_process_holds_a_whole_subtree(count: int) -> None:
    parts = [np.random.default_rng(i).standard_normal(100).astype(np.float32) for i in range(count)]
    whole = in_pairs(parts)
    for size in (1 << i for i in range(count.bit_length())):
        of_ranks = []
        for rank in range(size):
            shares = Shares.of(count, World(rank, size))
            assert shares is not None
            tree = Tree()
            for index in shares.mine:
                tree.add([paddle.to_tensor(parts[index][:60]), paddle.to_tensor(parts[index][60:])])
            of_ranks.append(np.concatenate([tensor.numpy() for tensor in tree.sum()]))
        assert in_pairs(of_ranks).tobytes() == whole.tobytes()
    if count > 2:
        assert sum(parts[1:], parts[0]).tobytes() != whole.tobytes()  # Another order gives other bits.


def test_processes_that_do_not_divide_the_shares_are_told_which_do() -> None:
    with pytest.raises(ConfigError, match="8 is for 1, 2, 4 or 8 processes, .* and 3 were started"):
        Shares.of(8, World(0, 3))
    with pytest.raises(ConfigError, match="1 is for one process, and 2 were started"):
        Shares.of(1, World(0, 2))
    assert Shares.of(None, World(0, 3)) is None
    for exchange in (HALVING, SERVER):
        with pytest.raises(ConfigError, match=f"parallel.exchange: {exchange} is an exchange of elastic runs"):
            Shares.of(None, World(0, 2), exchange)


def test_a_parameter_server_holds_no_shares_and_the_others_hold_them_all() -> None:
    for size in (2, 3, 5, 9):
        every = [Shares.of(8, World(rank, size), exchange=SERVER) for rank in range(size)]
        held = [list(shares.mine) for shares in every if shares is not None]
        assert held[0] == [] and [*chain(*held)] == list(range(8)) and len({len(mine) for mine in held[1:]}) == 1
    with pytest.raises(ConfigError, match="8 with parallel.exchange: server is for 2, 3, 5 or 9 processes"):
        Shares.of(8, World(0, 4), exchange=SERVER)
    with pytest.raises(ConfigError, match="1 with parallel.exchange: server is for 2 processes, of which one"):
        Shares.of(1, World(0, 3), exchange=SERVER)
    with pytest.raises(ConfigError, match="at least one that trains, and 1 process was started"):
        Shares.of(8, World(), exchange=SERVER)
    with pytest.raises(ConfigError, match="and parallel.elastic is not set"):
        Shares.of(None, World(0, 3), exchange=SERVER)


@pytest.mark.parametrize("length", range(17))
def test_the_shares_of_any_batch_are_the_same_whoever_holds_them(length: int) -> None:
    samples = np.arange(length)
    whole = [samples[share(length, index, 8)].tolist() for index in range(8)]
    for size in (1, 2, 4, 8):
        found = []
        for rank in range(size):
            own = samples[share(length, rank, size)]
            mine = range(rank * 8 // size, (rank + 1) * 8 // size)
            entries = [paddle.to_tensor(own if len(own) else samples[:1])]
            batch = Batch.of(entries, len(own), length, b"key")
            found += [each[0].tolist() if each.local_size else [] for each in shares_of(batch, mine, 8).values()]
        assert found == whole


def test_a_feed_loads_each_share_by_itself() -> None:
    data = ImageArrays(np.arange(23, dtype=np.uint8).reshape(-1, 1, 1), np.arange(23, dtype=np.int64), num_classes=23)
    sizes: list[int] = []

    def collate(samples: list) -> list:
        sizes.append(len(samples))
        return [paddle.to_tensor(np.stack([np.asarray(label) for _, label in samples]))]

    class Plain(paddle.io.Dataset):
        def __getitem__(self, index: int) -> tuple:
            return data[index]

        def __len__(self) -> int:
            return len(data)

    by_size = {}
    for size in (1, 2, 4):
        by_size[size] = []
        for rank in range(size):
            feed = Feed(Plain(), batch_size=6, seed=3, rank=rank, size=size, shares=4, collate_fn=collate)
            for number, batch in enumerate(feed.remaining()):
                assert isinstance(batch, SharedBatch) and batch.global_size == (6 if number < 3 else 5)
                for index, each in batch.shares.items():
                    by_size[size].append((number, index, each[0].numpy().ravel().tolist() if each else []))
    assert sorted(by_size[1]) == sorted(by_size[2]) == sorted(by_size[4])
    assert set(sizes) == {1, 2}


class Buffers(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.norm = paddle.nn.BatchNorm1D(2)
        self.used, self.unused = self.create_parameter([2]), self.create_parameter([3])
        self.register_buffer("count", paddle.to_tensor([2**40 + 1], "int64"))
        self.register_buffer("flag", paddle.to_tensor([False]))
        self.register_buffer("mask", paddle.to_tensor([0.1, -np.inf, np.inf]), persistable=False)


@pytest.mark.parametrize("shares", [1, 3])
def test_a_buffer_that_no_share_changes_stays_and_the_mean_of_changes_is_kept(shares: int) -> None:
    model, exact = Buffers(), paddle.to_tensor([0.1, -np.inf, np.inf]).numpy().tobytes()
    before = model.norm._mean.numpy()
    parameters = [model.used, model.unused]
    fused, tree = FusedBuffer(model, parameters, [], 4, told=(1, 0, 0, 2)), Tree()
    for index in range(4):
        if index >= shares:
            tree.add(fused.nothing())
            continue
        fused.buffers.begin_share()
        assert model.count.item() == 2**40 + 1
        model.norm._mean.set_value(model.norm._mean + float(index + 1))
        model.count.set_value(model.count + 5 + index)
        model.flag.set_value(paddle.to_tensor([True]))
        (model.used.sum() * float(index + 1)).backward()
        tree.add(fused.part(paddle.to_tensor(0.5), index, (index, 2**64 - 1), first=index == 0, only=shares == 1))
        fused.drop_gradients()
    sums = fused.take(fused.parted(fused.flat(tree.sum())), shares)
    assert model.mask.numpy().tobytes() == exact
    np.testing.assert_allclose(model.norm._mean.numpy(), before + sum(range(1, shares + 1)) / shares, rtol=1e-6)
    assert model.count.item() == 2**40 + 6 and model.flag.item()
    assert model.used.grad.tolist() == [float(sum(range(1, shares + 1)))] * 2
    assert model.unused.grad is None
    assert float(sums.loss) == 0.5 * shares
    assert sums.told.tolist() == [1, 0, 0, 2]
    assert sums.prints.tolist()[:shares] == [[index, 2**64 - 1] for index in range(shares)]


def test_a_buffer_of_another_type_is_refused() -> None:
    model = paddle.nn.Linear(1, 1)
    model.register_buffer("phase", paddle.to_tensor([1 + 2j]))
    with pytest.raises(StateError, match="The buffer .* of the model is of .*complex64"):
        SharedBuffers(model, "float32")


def test_double_precision_travels_in_double_precision() -> None:
    model = paddle.nn.Linear(2, 1)
    model.register_buffer("fine", paddle.to_tensor([1e-12], "float64"))
    fused = FusedBuffer(model, model.parameters(), [], 1)
    assert fused.dtype == "float64"
    model.fine.set_value(model.fine + 1.0)
    model(paddle.ones([1, 2])).sum().backward()
    fused.take(fused.part(paddle.to_tensor(0.1), 0, None, first=True, only=True), 1)
    assert model.fine.item() == 1.0 + 1e-12
    assert str(model.weight.grad.dtype).endswith("float32")
