"""What a model of images has learned: which parts of an image decide together.

python examples/domains/image.py --output image.html
"""

import math
from collections.abc import Sequence
from pathlib import Path

from black_box import BlackBox, Instance
from classifier import Model, predicted, scores_of, trained
from mobilenet import MODEL, PHOTOS, crops, loaded, photo
from small_images import Labelled, digits
from torch import Tensor

from zoo.glider.domains.images import Superpixels

COUNT = 40  # instances of a black box
EPOCHS = 20


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """A small network on digits and, where `data` has its file, MobileNetV2.

    A score of the first takes some 25 microseconds of CPU time, of the second 3.5 milliseconds.

    Args:
        quick: Train for a tenth of the time, for tests.
        seed: Seed of the network and of the instances.
        data: A folder with the files of MobileNetV2, and photos, or its folder `image`.
    """
    boxes = [small(digits(seed), 2 if quick else EPOCHS, seed)]
    places = [data / "image", data] if data else []
    for folder in (place for place in places if (place / MODEL.name).is_file()):
        boxes.append(photos([folder / remote.name for remote in PHOTOS], folder, seed))
        break
    return boxes


def small(images: Labelled, epochs: int, seed: int, count: int = COUNT) -> BlackBox:
    """A network that has learned small images, and some it has not seen.

    Args:
        images: The images.
        epochs: How often each is seen.
        seed: Seed of the network.
        count: Number of instances.
    """
    model = trained(*images.train, len(images.classes), epochs, seed)
    held_out, labels = images.test
    found = predicted(model, held_out)
    instances = []
    for image, label, seen in zip(held_out[:count], labels.tolist(), found.tolist(), strict=False):
        title = images.classes[seen]
        title += "" if seen == label else f", where it is {images.classes[label]}"
        instances.append(instance(image, Superpixels.of(image, off=0), title, model, seen))
    return BlackBox("Image-CNN", instances, float((found == labels).float().mean()))


def photos(given: Sequence[Path], data: Path | None, seed: int, count: int = COUNT) -> BlackBox:
    """MobileNetV2 and squares of photos.

    Args:
        given: Files of photos.
        data: A folder with the model; None downloads it.
        seed: Seed of where the squares are.
        count: Number of squares; the first ones are the largest of each photo.
    """
    model, names = loaded(data)
    instances = []
    for image in crops([photo(file) for file in given], count, seed):
        seen = int(model(image[None]).argmax())
        switches = Superpixels.of(image, "quickshift")
        instances.append(instance(image, switches, names[seen], model, seen))
    return BlackBox("MobileNetV2", instances, math.nan)


def instance(image: Tensor, switches: Superpixels, title: str, model: Model, seen: int) -> Instance:
    """An image whose superpixels are its parts.

    Args:
        image: [H, W, C] the image.
        switches: Its superpixels.
        title: What the model sees in it.
        model: Images to logits.
        seen: Number of the class whose log-odds are the score.
    """
    names = [str(number) for number in range(1, switches.count + 1)]
    return Instance(image, switches, names, title, scores_of(model, seen))
