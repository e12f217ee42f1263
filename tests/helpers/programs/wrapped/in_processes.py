"""Several processes train together by paddle.DataParallel; each writes what it has at the end."""

import os
import random

import numpy as np
import paddle
from parts import OUT, SEED, Samples, loss_of, make_net, may_die, state

paddle.distributed.init_parallel_env()
rank = paddle.distributed.get_rank()
paddle.seed(SEED + rank)
random.seed(SEED + rank)
net = paddle.DataParallel(make_net())
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
samples = Samples(44)
sampler = paddle.io.DistributedBatchSampler(samples, batch_size=8, shuffle=True)
loader = paddle.io.DataLoader(samples, batch_sampler=sampler)
step = 0
for epoch in range(3):
    sampler.set_epoch(epoch)
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        if rank == int(os.environ.get("PADDLE_RESUME_DIE_RANK", "0")):
            may_die(step)
draws = {"draws": [random.random(), np.random.rand(), paddle.rand([1])]}
paddle.save({**state(net, optimizer), **draws}, str(OUT / f"rank_{rank}.pdparams"))
