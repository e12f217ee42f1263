"""The shape of PaddleDetection, and of the tutorial's Trainer: methods, a loader of its own, callbacks, lazy parts."""

import paddle
from parts import OUT, Smoothed, argument, loss_of, make_loader, make_net, may_die, open_log, state, validate, write


class Loader:
    """Gives the batches of Paddle's loader, and counts its epochs."""

    def __init__(self, loader):
        self.loader, self.iterator, self.epochs = loader, None, 0

    def __iter__(self):
        self.iterator = iter(self.loader)
        self.epochs += 1
        return self

    def __next__(self):
        try:
            return next(self.iterator)
        except StopIteration:
            raise
        except Exception as error:
            raise RuntimeError("the loader failed") from error


class Best:
    def __init__(self, trainer):
        self.trainer, self.value, self.epoch = trainer, None, -1

    def __call__(self, epoch, value):
        if self.value is None or value < self.value:
            self.value, self.epoch = value, epoch
            paddle.save(self.trainer.net.state_dict(), str(OUT / "best.pdparams"))


class Trainer:
    def __init__(self):
        self.net = make_net()
        self.rate = paddle.optimizer.lr.LinearWarmup(paddle.optimizer.lr.CosineAnnealingDecay(0.05, 12), 3, 0.0, 0.05)
        self.optimizer = paddle.optimizer.Adam(self.rate, parameters=self.net.parameters())
        self.loader = Loader(make_loader())
        self.callbacks = [Best(self)]
        self.status = {}
        self.valid = None
        self.log, self.curves = open_log()

    def train(self, epochs):
        for epoch in range(epochs):
            self.status.update(mode="train", epoch=epoch)
            self.loader.loader.dataset.epoch = epoch
            self.meter = Smoothed(3)
            for number, (x, y) in enumerate(self.loader):
                self.status["number"] = number
                self.train_step(x, y)
            value = self.evaluate()
            for callback in self.callbacks:
                callback(epoch, value)
            paddle.save(self.net.state_dict(), str(OUT / f"epoch_{epoch}.pdparams"))
            paddle.save(self.optimizer.state_dict(), str(OUT / f"epoch_{epoch}.pdopt"))

    def train_step(self, x, y):
        loss = loss_of(self.net, x, y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.rate.step()
        self.meter.update(float(loss))
        step = self.status["step"] = self.status.get("step", 0) + 1
        self.curves.add_scalar("loss", self.meter.median, step)
        self.log.info("epoch %d number %d %r", self.status["epoch"], self.status["number"], self.meter.median)
        may_die(step)

    def evaluate(self):
        if self.valid is None:
            self.valid = make_loader(16, shuffle=False).dataset
        samples = [self.valid[index] for index in range(16)]
        value = validate(self.net, [(paddle.to_tensor(x[None]), paddle.to_tensor([y])) for x, y in samples])
        self.curves.add_scalar("valid", value, self.status["epoch"])
        return value


def main():
    trainer = Trainer()
    trainer.train(int(argument or 3))
    best = trainer.callbacks[0]
    write(
        **state(trainer.net, trainer.optimizer),
        best=[best.value, best.epoch],
        status=trainer.status,
        epochs=trainer.loader.epochs,
        valid_given=trainer.valid.given,
    )


if __name__ == "__main__":
    main()
