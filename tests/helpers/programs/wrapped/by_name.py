"""A loop whose functions keep what they count in a module, in themselves, and in a default argument."""

import paddle
import parts
from parts import loss_of, make_loader, make_net, may_die, open_log, state, write

log, curves = open_log()
net = make_net()
optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters())


def count(kept=[]):  # noqa: B006 (what is tested)
    kept.append(len(kept))
    count.calls = getattr(count, "calls", 0) + 1
    parts.level = getattr(parts, "level", 0) + 2
    return len(kept) + count.calls + parts.level


ways = {"plain": lambda value: value, "more": lambda value: value * 1.5}
way, loader, step, counted = ways["plain"], make_loader(), 0, 0
for epoch in range(3):
    way = ways["more"] if epoch == 1 else way
    for x, y in loader:
        loss = way(loss_of(net, x, y)) * (1 + counted / 1000)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step, counted = step + 1, count()
        curves.add_scalar("loss", float(loss), step)
        log.info("step %d %r", step, float(loss))
        may_die(step)
write(**state(net, optimizer), counted=counted, level=parts.level)
