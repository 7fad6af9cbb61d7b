"""A small convolutional network that learns to name images, and what it says of them.

Shapes: N images, H height, W width, C channels, K classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Model = Callable[[Tensor], Tensor]  # images to logits [N, K]
WIDTH = 32  # channels of the last layers
BATCH = 64


class Classifier(nn.Module):
    """Three layers of convolutions, each of which halves the image, and a linear one.

    Args:
        size: Height and width of the images, a multiple of 8.
        channels: Their channels, C.
        classes: Number of classes, K.
    """

    def __init__(self, size: int, channels: int, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, WIDTH // 2, 5, 2, 2),
            nn.ReLU(),
            nn.Conv2d(WIDTH // 2, WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(WIDTH * (size // 8) ** 2, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """[N, K] logits of images [N, H, W, C] of 0 .. 1."""
        return self.layers(images.permute(0, 3, 1, 2))


def trained(images: Tensor, labels: Tensor, classes: int, epochs: int, seed: int) -> Classifier:
    """A classifier that has learned labels [N] of images [N, H, W, C] of 0 .. 1.

    Args:
        images: The images.
        labels: int [N] their classes.
        classes: Number of classes, K.
        epochs: How often each image is seen.
        seed: Seed of the weights and of the order of the images.
    """
    torch.manual_seed(seed)
    model = Classifier(images.shape[1], images.shape[3], classes)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return model.eval()


def predicted(model: nn.Module, images: Tensor) -> Tensor:
    """int [N] the classes that a model gives images."""
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in images.split(1024)])


def scores_of(model: Model, of: int) -> Callable[[Tensor], Tensor]:
    """The black box: images to log p / (1 - p) of the probability of a class, [N].

    Args:
        model: Images to logits [N, K].
        of: Number of the class.
    """

    def scores(images: Tensor) -> Tensor:
        logits = model(images)
        others = torch.cat((logits[:, :of], logits[:, of + 1 :]), 1)
        return logits[:, of] - others.logsumexp(1)

    return scores
