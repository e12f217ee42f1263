"""LeNet on MNIST with paddle.Model, as in Paddle's own tutorial; ExactResume makes it exactly resumable."""

from paddle_resume.hapi import ExactResume  # before paddle: it chooses the number of threads

import paddle
from paddle.vision.datasets import MNIST
from paddle.vision.transforms import Normalize

paddle.seed(1)
transform = Normalize(mean=[127.5], std=[127.5], data_format="CHW")
train_dataset = MNIST(mode="train", transform=transform)
test_dataset = MNIST(mode="test", transform=transform)

lenet = paddle.vision.models.LeNet(num_classes=10)
model = paddle.Model(lenet)
model.prepare(
    paddle.optimizer.Adam(parameters=model.parameters()),
    paddle.nn.CrossEntropyLoss(),
    paddle.metric.Accuracy(),
)
model.fit(
    train_dataset,
    test_dataset,
    epochs=5,
    batch_size=64,
    save_dir="output",
    callbacks=[paddle.callbacks.VisualDL("log"), ExactResume("checkpoint", "lenet")],
)
model.save("output/mnist")
