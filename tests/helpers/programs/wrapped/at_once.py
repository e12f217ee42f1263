"""Takes all batches at once: those of an evaluation before the training, and, if it is to, those of each epoch."""

import paddle
from parts import argument, loss_of, make_loader, make_net, may_die, open_log, state, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())
kept = list(make_loader(16, shuffle=False))
loader, step = make_loader(), 0
for _ in range(3):
    batches = loader if argument != "in the loop" else [*loader]
    for x, y in batches:
        loss = loss_of(net, x, y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        curves.add_scalar("loss", float(loss), step)
        log.info("step %d %r", step, float(loss))
        may_die(step)
write(**state(net, optimizer), kept=sum(float(loss_of(net, *batch)) for batch in kept))
