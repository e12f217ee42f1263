"""Batch normalization with several processes: whose running statistics are the model's."""

from __future__ import annotations

import paddle

from paddle_resume.errors import ConfigError

BATCH_NORMS = (paddle.nn.BatchNorm, paddle.nn.BatchNorm1D, paddle.nn.BatchNorm2D, paddle.nn.BatchNorm3D)


def per_process_statistics(model: paddle.nn.Layer) -> list[paddle.Tensor]:
    """The tensors of `model` that no gradient moves and that each process would move by its own share of the data.

    Buffers, and the running mean and variance of batch norms, which Paddle keeps as parameters. After each step
    all processes take on rank 0's, so that what is evaluated, saved and resumed is the same everywhere. Buffers without
    memory, such as the one for dropout that each LSTM keeps, have none to take on.
    """
    found = {id(tensor): tensor for tensor in model.buffers() if tensor._is_initialized()}
    for layer in model.sublayers(include_self=True):
        if isinstance(layer, BATCH_NORMS):
            for tensor in (layer._mean, layer._variance):
                found[id(tensor)] = tensor
    return list(found.values())


def synchronized(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """`model` with batch norms that take their statistics over all processes, which Paddle has for GPUs only.

    Raises ConfigError on a CPU.
    """
    if not paddle.device.get_device().startswith("gpu"):
        raise ConfigError(
            "parallel.sync_batch_norm: true needs GPUs, Paddle has no such batch norm for a CPU. Set it to false: each "
            "process then normalizes by its own share of the batch, and rank 0's running statistics are the model's."
        )
    return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
