"""Trains by the ways of mixed precision and of static graphs that its argument names, such as `O2,to_static`.

On a CPU Paddle leaves `auto_cast`, `decorate` and `GradScaler` without effect: O1 and O2 only go through these calls
there. `short` is mixed for certain: its weights are of bfloat16, and SGD moves its masters of float32.
"""

import paddle
from parts import OUT, argument, loss_of, make_loader, make_net, may_die, open_log, state, write

WAYS = argument.split(",")
LEVEL = next((way for way in WAYS if way in ("O1", "O2")), "O0")


class Short(paddle.nn.Layer):
    """A Linear with weights of bfloat16, which computes in float32: a CPU multiplies no others."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = self.create_parameter([inputs, outputs])
        self.to(dtype="bfloat16")

    def forward(self, x):
        return x @ self.weight.astype("float32")


def train(net, optimizer, scaler, loader, curves):
    done = 0
    for _ in range(3):
        for x, y in loader:
            with paddle.amp.auto_cast(enable=LEVEL != "O0", level=LEVEL if LEVEL != "O0" else "O1", dtype="bfloat16"):
                loss = loss_of(net, x, y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.clear_grad()
            done += 1
            curves.add_scalar("loss", float(loss), done)
            may_die(done)


if __name__ == "__main__":
    if "jit" in WAYS:  # The decorator, on what the training calls, instead of a net that is changed.
        loss_of = paddle.jit.to_static(loss_of)
    _, curves = open_log()
    if "short" in WAYS:
        net = paddle.nn.Sequential(Short(8, 16), paddle.nn.ReLU(), paddle.nn.Dropout(0.3), Short(16, 2))
        optimizer = paddle.optimizer.SGD(0.3, parameters=net.parameters(), multi_precision=True)
    else:
        net = make_net()
        optimizer = paddle.optimizer.AdamW(0.01, parameters=net.parameters())
    if LEVEL == "O2":
        net, optimizer = paddle.amp.decorate(net, optimizer, level="O2", dtype="bfloat16", master_grad="grad" in WAYS)
    if "to_static" in WAYS:
        net = paddle.jit.to_static(net)
    train(net, optimizer, paddle.amp.GradScaler(init_loss_scaling=64.0, incr_every_n_steps=3), make_loader(), curves)
    if "short" in WAYS:
        masters = optimizer.state_dict()["master_weights"]
        assert masters and all(each.dtype == paddle.float32 for each in masters.values())
        assert all(each.dtype == paddle.bfloat16 for each in net.parameters())
    paddle.save(net.state_dict(), str(OUT / "net.pdparams"))
    write(**state(net, optimizer))
