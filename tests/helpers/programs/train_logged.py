"""Two networks with a step of their own, on samples that are dicts; each loss is logged by its name, and one more."""

import argparse

import numpy as np

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Monitoring, SaveSchedule, Trainer


class Pairs(paddle.io.Dataset):
    """Points as dicts, with a field that is nested."""

    def __init__(self, count=96):
        self.x = np.random.RandomState(1).rand(count, 4).astype("float32")

    def __getitem__(self, index):
        x = self.x[index]
        return {"point": x, "more": (x[:2], {"sum": x.sum()}), "label": np.int64(x.sum() > 2)}

    def __len__(self):
        return len(self.x)


class Nets(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.maker, self.judge = paddle.nn.Linear(2, 4), paddle.nn.Linear(4, 2)


class Game(Trainer):
    """One net makes points, the other tells them from the real ones."""

    def train_step(self, batch):
        made = self.model.maker(paddle.rand([batch["point"].shape[0], 2]) + batch["more"][0])
        judged = paddle.nn.functional.softplus(self.model.judge(made))
        d_loss = (judged.mean() - 1) ** 2 + (
            (self.model.judge(batch["point"]).mean(1) - batch["more"][1]["sum"]) ** 2
        ).mean()
        d_loss.backward()
        self.optimizer["judge"].step()
        self.model.clear_gradients()
        g_loss = (self.model.judge(self.model.maker(batch["more"][0])) ** 2).mean()
        g_loss.backward()
        self.optimizer["maker"].step()
        self.model.clear_gradients()
        self.log(spread=made.std(), share=float(batch["label"].astype("float32").mean()))
        return {"d_loss": d_loss, "g_loss": g_loss}

    def evaluate_step(self, batch):
        loss = (self.model.judge(batch["point"]) ** 2).mean()
        self.log(d_real=loss)
        return {"loss": loss, "twice": 2 * loss}, None


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--inline", action="store_true")
    options = parser.parse_args(arguments)
    paddle_resume.seed_everything(3)
    nets = Nets()
    optimizers = {
        name: paddle.optimizer.Adam(0.01, parameters=getattr(nets, name).parameters()) for name in ("maker", "judge")
    }
    trainer = Game(
        nets,
        optimizers,
        name="game",
        seed=3,
        schedule=SaveSchedule(every_steps=5, background=not options.inline),
        monitoring=Monitoring(log_every=3),
    )
    trainer.train(Pairs(), Pairs(24), epochs=2, global_batch_size=12)


if __name__ == "__main__":
    main()
