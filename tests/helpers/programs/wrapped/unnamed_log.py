"""Draws its curves into a folder that is called by the time of the start: by VisualDL, or by `itself`.

It takes the signals from everybody too, as PaddleNLP does when it is imported.
"""

import time

import paddle
import visualdl
from parts import argument, loss_of, make_loader, make_net, may_die

curves = visualdl.LogWriter(time.strftime("runs/%H-%M-%S") if argument == "itself" else None)
paddle.disable_signal_handler()
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
