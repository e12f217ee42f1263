"""Several processes by Paddle's fleet, which holds the optimizer; each of them draws curves into one folder."""

import os

import paddle
import visualdl
from paddle.distributed import fleet
from parts import OUT, SEED, Samples, loss_of, make_net, may_die, state

fleet.init(is_collective=True)
rank = paddle.distributed.get_rank()
paddle.seed(SEED + rank)
net = make_net()
rate = paddle.optimizer.lr.CosineAnnealingDecay(0.01, 20)
optimizer = fleet.distributed_optimizer(paddle.optimizer.Adam(rate, parameters=net.parameters()))
model = fleet.distributed_model(net)
samples = Samples(44)
sampler = paddle.io.DistributedBatchSampler(samples, batch_size=8, shuffle=True)
loader = paddle.io.DataLoader(samples, batch_sampler=sampler)
(OUT / "log").mkdir(parents=True, exist_ok=True)  # Of two processes that make it at once VisualDL lets one fail.
curves = visualdl.LogWriter(str(OUT / "log"))
step = 0
for epoch in range(3):
    sampler.set_epoch(epoch)
    for x, y in loader:
        loss = loss_of(model, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        schedule = optimizer._learning_rate
        schedule.step()
        step += 1
        curves.add_scalar(f"loss of {rank}", float(loss), step)
        if rank == int(os.environ.get("PADDLE_RESUME_DIE_RANK", "0")):
            may_die(step)
curves.close()
paddle.save(state(net, optimizer), str(OUT / f"rank_{rank}.pdparams"))
