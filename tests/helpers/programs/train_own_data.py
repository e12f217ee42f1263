"""A training program for the proofs on other data than digits: `text CORPUS` or `images FOLDER [WORKERS]`."""

import sys

import paddle_resume  # isort: skip (its CPU set-up comes before Paddle)
import paddle

from paddle_resume import Monitoring, Trainer
from paddle_resume.data import augment
from paddle_resume.data.image_folder import ImageFolder
from paddle_resume.data.text import TextDataset
from paddle_resume.loggers import JsonlLogger
from paddle_resume.metrics import Accuracy, Perplexity
from paddle_resume.models import TransformerLM
from paddle_resume.training.save_schedule import SaveSchedule


def text(corpus):
    def part(mode):
        return TextDataset(corpus, context=16, mode=mode, valid=12, test=12)

    model = TransformerLM(**part("train").describe(), width=16, depth=1, heads=2, dropout=0.2)
    return part, model, [Perplexity(), Accuracy()]


def images(folder):
    changes = [augment.RandomHorizontalFlip(), augment.RandomCrop(padding=2), augment.RandomRotation(degrees=20)]

    def part(mode):
        return ImageFolder(folder, 12, mode, augment=changes, valid=12, test=12)

    model = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 6, 3), paddle.nn.BatchNorm2D(6), paddle.nn.ReLU(), paddle.nn.Flatten(),
        paddle.nn.Linear(600, part("train").describe()["num_classes"]),
    )  # fmt: skip
    return part, model, [Accuracy()]


def main(kind, source, workers="0"):
    paddle_resume.seed_everything(7)
    part, model, metrics = {"text": text, "images": images}[kind](source)
    trainer = Trainer(
        model,
        paddle.optimizer.AdamW(0.01, parameters=model.parameters()),
        loss=paddle.nn.CrossEntropyLoss(),
        console=False,
        metrics=metrics,
        name=kind,
        logger=JsonlLogger("log"),
        seed=7,
        schedule=SaveSchedule(every_steps=3, background="--inline" not in sys.argv),
        monitoring=Monitoring(log_every=2),
        model_path=f"{kind}.pdparams",
    )
    trainer.train(part("train"), part("valid"), part("test"), epochs=2, global_batch_size=8, num_workers=int(workers))


if __name__ == "__main__":
    main(*[argument for argument in sys.argv[1:] if argument != "--inline"])
