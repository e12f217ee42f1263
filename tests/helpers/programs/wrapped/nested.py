"""The shape of PaddleClas: a method calls a function with `range`, which asks an iterator that the engine keeps."""

import paddle
from parts import OUT, Smoothed, loss_of, make_loader, make_net, may_die, open_log, state, validate, write


class Engine:
    def __init__(self):
        self.net = make_net()
        self.optimizer = paddle.optimizer.Momentum(
            paddle.optimizer.lr.PiecewiseDecay([5, 9], [0.05, 0.02, 0.01]), parameters=self.net.parameters()
        )
        self.loader, self.valid = make_loader(), make_loader(16, shuffle=False)
        self.meters = {}
        self.log, self.curves = open_log()

    def train(self, epochs):
        best = {"metric": None, "epoch": 0}
        self.per_epoch = len(self.loader)
        self.iterator = iter(self.loader)
        self.step = 0
        for epoch in range(1, epochs + 1):
            train_epoch(self, epoch)
            message = ", ".join(f"{name} {meter.median!r}" for name, meter in self.meters.items())
            self.log.info("epoch %d: %s", epoch, message)
            self.meters.clear()
            value = validate(self.net, self.valid)
            if best["metric"] is None or value < best["metric"]:
                best = {"metric": value, "epoch": epoch}
                paddle.save({"net": self.net.state_dict(), **best}, str(OUT / "best.pdparams"))
            self.curves.add_scalar("valid", value, epoch)
        return best


def train_epoch(engine, epoch):
    for number in range(engine.per_epoch):
        try:
            batch = next(engine.iterator)
        except Exception:
            engine.iterator = iter(engine.loader)
            batch = next(engine.iterator)
        x, y = batch
        loss = loss_of(engine.net, x, y)
        loss.backward()
        engine.optimizer.step()
        engine.optimizer.clear_grad()
        engine.optimizer._learning_rate.step()
        engine.meters.setdefault("loss", Smoothed()).update(float(loss))
        engine.step += 1
        engine.curves.add_scalar("loss", float(loss), engine.step)
        engine.log.info("epoch %d number %d", epoch, number)
        may_die(engine.step)


engine = Engine()
best = engine.train(4)
write(**state(engine.net, engine.optimizer), best=best, step=engine.step)
