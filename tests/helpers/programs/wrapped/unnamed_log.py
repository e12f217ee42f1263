"""Draws its curves into a folder that VisualDL calls by the time of the start."""

import paddle
import visualdl
from parts import loss_of, make_loader, make_net, may_die

curves = visualdl.LogWriter()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
loader = make_loader()
step = 0
for _ in range(3):
    for x, y in loader:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        curves.add_scalar("loss", float(loss), step)
        may_die(step)
