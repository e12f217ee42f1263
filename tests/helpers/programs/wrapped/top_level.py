"""A loop at the top level of a script: plateau, an average of the weights, patience, best model."""

import numpy as np
import paddle
from parts import OUT, loss_of, make_loader, make_net, may_die, open_log, state, validate, write

log, curves = open_log()
net = make_net()
rate = paddle.optimizer.lr.ReduceOnPlateau(0.02, patience=0, factor=0.5)
optimizer = paddle.optimizer.AdamW(rate, parameters=net.parameters())
loader, valid = make_loader(own_generator=True), make_loader(16, shuffle=False)
average = {name: value.numpy().copy() for name, value in net.state_dict().items()}
best, bad, history, step = float("inf"), 0, [], 0
for epoch in range(4):
    loader.dataset.epoch = epoch
    total = 0.0
    for number, (x, y) in enumerate(loader):
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        total += float(loss)
        step += 1
        for name, value in net.state_dict().items():
            average[name] = average[name] * 0.9 + value.numpy() * 0.1
        curves.add_scalar("loss", float(loss), step)
        log.info("epoch %d batch %d loss %r", epoch, number, float(loss))
        may_die(step)
    value = validate(net, valid)
    rate.step(value)
    history.append((epoch, total, value, rate()))
    curves.add_scalar("valid", value, epoch)
    if value < best:
        best, bad = value, 0
        paddle.save(net.state_dict(), str(OUT / "best.pdparams"))
    else:
        bad += 1
    if bad > 2:
        break
write(**state(net, optimizer), average=average, history=history, best=best, seen=np.array(loader.dataset.given))
