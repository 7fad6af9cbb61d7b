"""The example of images: a page of digits, MobileNetV2 on a photo, and files that are none."""

import gzip
import importlib
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from support.running import ROOT

from zoo import ZooError

# without the time, which is part of the name of a test, and differs between processes
CUT_OFF = gzip.compress(b"0" * 99, mtime=0)[:-9]


@pytest.fixture
def example(monkeypatch):
    """The modules of the example, by name."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "domains")
    return importlib.import_module


@pytest.fixture
def photos(shared_data):
    """The folder of MobileNetV2 and its photos."""
    folder = shared_data / "domains" / "image"
    if not folder.is_dir():
        pytest.skip("the files of MobileNetV2 (3.6 MB) do not lie in ../shared/data/domains/image")
    return folder


def test_a_page_of_digits(example, tmp_path, capsys):
    image, page = example("image"), tmp_path / "image.html"
    image.main(["--quick", "--output", str(page)])
    said, text = capsys.readouterr().out, page.read_text()
    assert "main effects: " in said
    assert "together: " in said
    assert "on 360 images it has not seen" in said
    assert text.count("data:image/png;base64,") == 3
    assert ", which is " in text  # one that the network gets wrong
    assert "On fresh perturbations main effects explain" in text
    again = tmp_path / "again.html"
    image.main(["--quick", "--output", str(again)])
    assert again.read_bytes() == page.read_bytes()  # the same seeds, the same page


def test_instances_of_the_benchmark(example, tmp_path):
    (box,) = example("image").black_boxes(quick=True, seed=0, data=tmp_path)
    assert box.name == "Image-CNN"
    assert len(box.instances) == 40
    assert box.accuracy > 0.8
    assert all(15 <= len(one.names) == one.switches.count <= 60 for one in box.instances)
    one = box.instances[0]
    images = one.switches.apply(one.x, torch.ones(2, len(one.names)))
    assert torch.equal(images[0], one.x)
    assert one.scores(images[:]).shape == (2,)


def test_scores_are_log_odds(example):
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    found = example("classifier").scores_of(lambda images: images, 1)(logits)
    p = logits.softmax(1)[:, 1]
    assert torch.allclose(found, (p / (1 - p)).log())


def test_mobilenet_names_a_parrot(example, photos, tmp_path, capsys):
    """The logits are those of the file: its probabilities, rounded to 1/256, are their softmax."""
    mobilenet = example("mobilenet")
    model, names = mobilenet.loaded(photos)
    shots = [mobilenet.square(mobilenet.photo(photos / r.name)) for r in mobilenet.PHOTOS]
    for shot, name in zip(shots, ("macaw", "military uniform", "Egyptian cat"), strict=True):
        logits = model(shot[None])[0]
        assert names[logits.argmax()] == name
        out = model._of.get_output_details()[0]["index"]
        rounded = torch.from_numpy(model._of.get_tensor(out)[0]).float() / 256
        assert torch.allclose(logits.softmax(0), rounded, atol=1 / 256)


def test_damaged_models(example, tmp_path):
    mobilenet = example("mobilenet")
    for content in (b"", b"TFL3" * 50):
        (tmp_path / "model.tflite").write_bytes(content)
        with pytest.raises(ZooError, match=r"model.tflite is not the file mobilenet_v2_1.0_224"):
            mobilenet.MobileNet(tmp_path / "model.tflite")


def test_photos_of_all_kinds(example, tmp_path):
    photo = example("mobilenet").photo
    colours = np.random.default_rng(0).integers(0, 256, (40, 30, 4), np.uint8)
    Image.fromarray(colours[..., :3]).save(tmp_path / "colours.png")
    assert np.array_equal(photo(tmp_path / "colours.png"), colours[..., :3])
    Image.fromarray(colours[..., 0]).save(tmp_path / "grey.png")
    assert np.array_equal(photo(tmp_path / "grey.png"), np.repeat(colours[..., :1], 3, 2))
    clear = colours.copy()
    clear[..., 3] = 0
    clear[0, 0, 3] = 255
    Image.fromarray(clear).save(tmp_path / "clear.png")
    read = photo(tmp_path / "clear.png")
    assert np.array_equal(read[0, 0], clear[0, 0, :3])
    assert (read.reshape(-1, 3)[1:] == 255).all()  # on white
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(colours[..., :3]).save(tmp_path / "turned.png", exif=turned)
    assert photo(tmp_path / "turned.png").shape == (30, 40, 3)


def test_photos_that_are_none(example, tmp_path):
    photo = example("mobilenet").photo
    with pytest.raises(ZooError, match=r"there is no photo .*none.png"):
        photo(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ZooError, match=r"text.png is no whole image that Pillow reads"):
        photo(tmp_path / "text.png")
    with pytest.raises(ZooError, match=r"is no whole image"):
        photo(tmp_path)
    Image.fromarray(np.zeros((99, 99, 3), np.uint8)).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ZooError, match=r"cut.png is no whole image that Pillow reads"):
        photo(tmp_path / "cut.png")


def test_squares_of_photos(example):
    mobilenet = example("mobilenet")
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255  # the largest square in the middle
    assert mobilenet.square(wide).float().mean() > 254
    assert mobilenet.square(wide, 1.0, (0, 0)).max() == 0
    assert mobilenet.square(np.full((1, 1, 3), 7, np.uint8)).unique().tolist() == [7]
    some = mobilenet.crops([wide, wide], 5, seed=0)
    assert [part.shape for part in some] == [(224, 224, 3)] * 5
    assert all(map(torch.equal, some, mobilenet.crops([wide, wide], 5, seed=0)))


def idx(values):
    """The content of an idx file of bytes."""
    return struct.pack(f">HBB{values.ndim}i", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_fashion(folder, count=6, packed=True):
    random = np.random.default_rng(0)
    for kind in ("train", "t10k"):
        for name, values in {
            "images-idx3": random.integers(0, 256, (count, 28, 28), np.uint8),
            "labels-idx1": random.integers(0, 10, count, np.uint8),
        }.items():
            content = idx(values)
            content = gzip.compress(content) if packed else content
            (folder / f"{kind}-{name}-ubyte.gz").write_bytes(content)


def test_garments_of_files(example, tmp_path):
    small_images = example("small_images")
    write_fashion(tmp_path)
    packed = small_images.fashion(tmp_path)
    assert packed.train[0].shape == (6, 32, 32, 1)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read()[16:], np.uint8).reshape(6, 28, 28)
    inside = packed.train[0][:, 2:30, 2:30, 0] * 255
    assert np.array_equal(inside.round().byte().numpy(), pixels)
    write_fashion(tmp_path, packed=False)
    assert torch.equal(small_images.fashion(tmp_path).train[0], packed.train[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t10k-images-idx3", b"", r"t10k-images-idx3-ubyte.gz is no whole idx file"),
        ("t10k-images-idx3", idx(np.zeros((6, 9, 9), "u1")), r"t10k files are not images of 28 x"),
        ("train-labels-idx1", idx(np.zeros(5, "u1")), r"the train files are not images of 28 x 28"),
        ("train-labels-idx1", idx(np.full(6, 10, "u1")), r"with labels of 0 to 9"),
        ("train-images-idx3", CUT_OFF, r"no whole gzip file: get it again"),
        ("train-images-idx3", idx(np.zeros((6, 28, 28), "u1"))[:-1], r"is no whole idx file"),
    ],
)
def test_garments_that_are_none(name, content, message, example, tmp_path):
    write_fashion(tmp_path)
    (tmp_path / f"{name}-ubyte.gz").write_bytes(content)
    with pytest.raises(ZooError, match=message):
        example("small_images").fashion(tmp_path)


def test_one_sentence_of_a_mistake(example, tmp_path, capsys):
    image = example("image")
    with pytest.raises(SystemExit) as ended:
        image.main(["--photo", str(tmp_path / "none.jpg"), "--output", str(tmp_path / "a.html")])
    assert ended.value.code == f"error: there is no photo {tmp_path / 'none.jpg'}"
    with pytest.raises(SystemExit) as ended:
        image.main(["--images", "fashion", "--data", str(tmp_path)])
    assert "has no train-images-idx3-ubyte.gz" in str(ended.value.code)
    with pytest.raises(SystemExit):
        image.main(["--count", "0"])
    assert "--count must be at least 1, got 0" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("package", "needed"), [("sklearn.datasets", "the digits are in"), ("PIL", "photos need")]
)
def test_packages_that_are_missing(package, needed, example, monkeypatch, tmp_path):
    small_images, mobilenet = example("small_images"), example("mobilenet")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ZooError, match=rf'{needed}.*: pip install "interpretable-zoo\[domains\]"'):
        _ = small_images.digits(0) if package[0] == "s" else mobilenet.photo(tmp_path)
