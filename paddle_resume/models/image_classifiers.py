"""The three networks of Paddle's digit tutorials, for float32 images [B, 1, 28, 28] and 10 classes."""

from __future__ import annotations

import paddle
from paddle import nn


class MNIST(nn.Layer):
    """Two convolutions of 20 filters of 5x5, each pooled by 2, then one linear layer 980 -> `num_classes`."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2D(1, 20, kernel_size=5, padding=2)
        self.pool1 = nn.MaxPool2D(kernel_size=2, stride=2)
        self.conv2 = nn.Conv2D(20, 20, kernel_size=5, padding=2)
        self.pool2 = nn.MaxPool2D(kernel_size=2, stride=2)
        self.fc = nn.Linear(980, num_classes)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        x = self.pool1(nn.functional.relu(self.conv1(images)))
        x = self.pool2(nn.functional.relu(self.conv2(x)))
        return self.fc(paddle.flatten(x, 1))


class LeNet(nn.Layer):
    """LeNet-5 after LeCun et al. 1998: convolutions of 6 and 16 filters, then 120, 84 and `num_classes` units."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2D(1, 6, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2D(kernel_size=2, stride=2),
            nn.Conv2D(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2D(kernel_size=2, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)
        )

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        return self.classifier(paddle.flatten(self.features(images), 1))


class MLP(nn.Layer):
    """One hidden layer: 784 -> `hidden` -> `num_classes`, with dropout before the last layer if asked for."""

    def __init__(self, num_classes: int = 10, hidden: int = 500, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        x = nn.functional.relu(self.hidden(paddle.flatten(images, 1)))
        return self.output(self.dropout(x))
