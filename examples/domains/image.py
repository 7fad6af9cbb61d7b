"""What a model of images has learned: which parts of an image decide together.

    python examples/domains/image.py --output image.html
    python examples/domains/image.py --photo parrot.jpg --output parrot.html

A small network learns handwritten digits, in seconds and without a download, and is asked about
digits it has not seen, two of which it gets wrong. `--images fashion` takes the garments of
Fashion-MNIST in their place. `--photo` asks MobileNetV2 about photos of yours. What is downloaded
may lie in a folder instead: `--data`.

An image is cut into superpixels, each of which may be off: black in small images, of its mean
colour in photos. The score is log p / (1 - p) of the probability of what the model sees.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from black_box import BlackBox, Instance
from classifier import Model, predicted, scores_of, trained
from mobilenet import MODEL, PHOTOS, crops, loaded, photo
from small_images import Labelled, digits, fashion
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.glider.domains.found import Shown, shown
from zoo.glider.domains.images import Superpixels
from zoo.glider.walsh import walsh
from zoo.inspect.domains.images import OutlinedImage
from zoo.inspect.domains.page import ExplainedInstance, page

COUNT = 40  # instances of a black box
WRONG = 2  # on a page
STRONG = 0.5  # of the share of the strongest interaction: what is shown
EPOCHS = {"digits": 20, "fashion": 4}


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """A small network on digits and, where `data` has its file, MobileNetV2.

    A score of the first takes some 40 microseconds of CPU time, of the second 3.5 milliseconds.

    Args:
        quick: Train for a tenth of the time, for tests.
        seed: Seed of the network and of the instances.
        data: A folder with the files of MobileNetV2, and photos, or its folder `image`.
    """
    boxes = [small(digits(seed), 2 if quick else EPOCHS["digits"], seed)]
    places = [data / "image", data] if data else []
    for folder in [place for place in places if (place / MODEL.name).is_file()][:1]:
        boxes.append(photos([folder / remote.name for remote in PHOTOS], folder, seed))
    return boxes


def small(images: Labelled, epochs: int, seed: int, count: int = COUNT, wrong: int = 0) -> BlackBox:
    """A network that has learned small images, and some it has not seen.

    Args:
        images: The images.
        epochs: How often each is seen.
        seed: Seed of the network.
        count: Number of instances.
        wrong: Number of the last ones among them, which are those that the network gets wrong;
            0 takes whatever comes.
    """
    model = trained(*images.train, len(images.classes), epochs, seed)
    held_out, labels = images.test
    found = predicted(model, held_out)
    right = found == labels
    rows = [*range(len(labels))] if not wrong else right.nonzero()[:, 0].tolist()
    mistaken = (~right).nonzero()[:wrong, 0].tolist()
    instances = []
    for row in rows[: count - len(mistaken)] + mistaken:
        title = images.classes[found[row]]
        title += "" if right[row] else f", which is {images.classes[labels[row]]}"
        switches = Superpixels.of(held_out[row], off=0, compactness=20)
        instances.append(instance(held_out[row], switches, title, model, int(found[row])))
    return BlackBox("Image-CNN", instances, float(right.float().mean()))


def photos(given: Sequence[Path], data: Path | None, seed: int, count: int = COUNT) -> BlackBox:
    """MobileNetV2 and squares of photos, of which nobody has said here what they show.

    Args:
        given: Files of photos.
        data: A folder with the model; None downloads it.
        seed: Seed of where the squares are.
        count: Number of squares; the first ones are the largest of each photo.
    """
    shots = [photo(file) for file in given]
    model, names = loaded(data)
    instances = []
    for image in crops(shots, count, seed):
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


def explained(one: Instance, seed: int) -> ExplainedInstance:
    """What is found around an image, which is printed, too.

    Args:
        one: The image.
        seed: Seed of what is switched off.
    """
    (found,) = walsh(one.scores, [one.x], one.switches, seed=seed)
    parts = shown(found, by_sign=True, least_share=STRONG)
    probability = torch.tensor(found.score).sigmoid().item()
    count = len(found.interactions)
    said = f"Seen with a probability of {probability:.1%}, a score of {found.score:+.3g}."
    said += f" Interactions found: {count}." if count else ""
    print(f"\n{one.title}\n  {said}")
    print(f"  main effects: {_listed(one.names, parts)}")
    for features, value in parts.interactions[:3]:
        print(f"  together: {' · '.join(one.names[i] for i in features)} {value:+.3g}")
    assert isinstance(one.switches, Superpixels)
    picture = OutlinedImage(one.x, one.switches.labels, parts.mains, parts.interactions)
    return ExplainedInstance(one.title, said, one.names, *parts[:2], picture, parts.r2)


def _listed(names: Sequence[str], parts: Shown) -> str:
    order = sorted(range(len(names)), key=lambda i: -abs(parts.mains[i]))[:5]
    return ", ".join(f"{names[i]} {parts.mains[i]:+.3g}" for i in order)


def made(given: argparse.Namespace) -> tuple[str, str, BlackBox, list[str]]:
    """Title and lead of the page, the model, and facts about it."""
    if given.photo:
        box = photos(given.photo, given.data, given.seed, len(given.photo))
        lead = (
            "MobileNetV2 (Sandler et al. 2018; weights of 8 bits) on photos, in superpixels that "
            "follow edges. What is off has the mean colour of its superpixel. Interactions half as "
            "strong as the strongest are shown, joined where they overlap."
        )
        return "What MobileNetV2 sees", lead, box, [f"{len(given.photo)} photos"]
    images = digits(given.seed) if given.images == "digits" else fashion(given.data)
    epochs = 2 if given.quick else EPOCHS[given.images]
    count = 3 if given.quick else given.count
    box = small(images, epochs, given.seed, count, min(WRONG, count - 1))
    train, test = len(images.train[1]), len(images.test[1])
    lead = (
        f"A convolutional network that has learned {given.images} from {train:,} images. "
        "What is off is black. Interactions half as strong as the strongest are shown, joined "
        "where they overlap. The last images are some that it gets wrong."
    )
    facts = [f"accuracy {box.accuracy:.1%} on {test:,} images it has not seen"]
    return f"What a network sees in {given.images}", lead, box, facts


def main(arguments: Sequence[str] | None = None) -> None:
    """Explains images, prints what was found and writes a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", choices=[*EPOCHS], default="digits", help="what is learned")
    parser.add_argument("--photo", type=Path, nargs="+", help="photos to ask MobileNetV2 about")
    parser.add_argument("--data", type=Path, help="folder with the files that are downloaded else")
    parser.add_argument("--count", type=int, default=8, help="number of images to explain")
    parser.add_argument("--seed", type=int, default=0, help="seed of the network and of the masks")
    parser.add_argument("--quick", action="store_true", help="train less, explain three images")
    parser.add_argument("--output", type=Path, default=Path("image.html"), help="the page")
    given = parser.parse_args(arguments)
    if given.count < 1:
        parser.error(f"--count must be at least 1, got {given.count}")
    start = time.process_time()
    try:
        title, lead, box, facts = made(given)
        found = [explained(one, given.seed) for one in box.instances]
        with atomic_file(given.output) as partial:
            partial.write_text(page(title, lead, found, facts), encoding="utf-8")
    except ZooError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
    print(f"\n{'; '.join(facts)}; {time.process_time() - start:.0f} s of CPU time")
    print(f"the page: {given.output}")


if __name__ == "__main__":
    main()
