"""Finding, fetching and splitting MNIST, with small files in tmp_path and a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from paddle.dataset import common
from paddle.vision.datasets import MNIST, FashionMNIST

from paddle_resume.data import download
from paddle_resume.data.digits import load_digits
from paddle_resume.data.mnist import DATA_VARIABLE, label_names, load_mnist
from paddle_resume.errors import ConfigError, DataError

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
REAL = os.environ.get(DATA_VARIABLE)
needs_real_data = pytest.mark.skipif(not REAL, reason=f"needs MNIST in ${DATA_VARIABLE}")


def idx_gz(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


def small_files(count: int = 12, seed: int = 0) -> dict[str, bytes]:
    random = np.random.default_rng(seed)
    contents = []
    for size in (count, 5):
        contents += [
            random.integers(0, 256, (size, 28, 28), dtype=np.uint8),
            np.arange(size, dtype=np.uint8) % 10,
        ]
    return {f"{stem}.gz": idx_gz(array) for stem, array in zip(STEMS, contents)}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


class Server:
    """Answers each path with its next scripted (status, body, declared length), the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[tuple[int, bytes, int]]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                outer.asked.append(name)
                script = outer.answers[name]
                status, body, length = script.pop(0) if len(script) > 1 else script[0]
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """Paddle's cache in tmp_path, no data folder named, and nothing outside this machine within reach."""
    monkeypatch.setattr(common, "DATA_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(download, "_BACKOFF_S", 0.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        point_to(monkeypatch, f"http://127.0.0.1:{closed.getsockname()[1]}/", {})
    return tmp_path / "cache" / "mnist"


def point_to(monkeypatch, url: str, files: dict[str, bytes]) -> None:
    for dataset in (MNIST, FashionMNIST):
        for kind, stem in zip(("TRAIN_IMAGE", "TRAIN_LABEL", "TEST_IMAGE", "TEST_LABEL"), STEMS):
            monkeypatch.setattr(dataset, f"{kind}_URL", f"{url}{stem}.gz")
            monkeypatch.setattr(dataset, f"{kind}_MD5", hashlib.md5(files.get(f"{stem}.gz", b"?")).hexdigest())


@pytest.fixture
def server(monkeypatch):
    """A server of the small files, and Paddle's URLs and MD5s pointing to them."""
    running = Server()
    files = small_files()
    running.answers = {name: [(200, body, len(body))] for name, body in files.items()}
    point_to(monkeypatch, running.url, files)
    yield running
    running.close()


def names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_missing_files_are_downloaded_into_paddles_cache_once(cache, server):
    splits = load_mnist()
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (10, 2, 5)
    assert names_in(cache) == set(small_files())
    assert f"mnist from {cache} (downloaded into Paddle's cache)" == splits.source
    assert load_mnist().source == f"mnist from {cache} (Paddle's cache)"
    assert len(server.asked) == 4 and splits.notes == []


def test_a_download_that_breaks_off_is_tried_again_and_leaves_no_part(cache, server):
    name = f"{STEMS[0]}.gz"
    whole = server.answers[name][0]
    server.answers[name] = [(200, whole[1][:100], len(whole[1])), whole]
    load_mnist()
    assert server.asked.count(name) == 2
    assert names_in(cache) == set(small_files())


def test_a_file_with_another_md5_never_gets_its_name(cache, server):
    name = f"{STEMS[1]}.gz"
    server.answers[name] = [(200, b"something else", 14)]
    with pytest.raises(DataError) as caught:
        load_mnist()
    wrong, right = hashlib.md5(b"something else").hexdigest(), MNIST.TRAIN_LABEL_MD5
    assert f"in 3 tries: the MD5 is {wrong}, expected {right}" in str(caught.value)
    assert server.asked.count(name) == 3
    assert names_in(cache) == {f"{STEMS[0]}.gz"}


def test_a_cached_file_with_another_md5_is_downloaded_again(cache, server):
    put(cache, {**small_files(), f"{STEMS[2]}.gz": b"half a file"})
    load_mnist()
    assert server.asked == [f"{STEMS[2]}.gz"]
    assert (cache / f"{STEMS[2]}.gz").read_bytes() == small_files()[f"{STEMS[2]}.gz"]


def test_a_server_that_refuses_is_named_with_its_answer(server):
    server.answers[f"{STEMS[0]}.gz"] = [(403, b"no", 2)]
    with pytest.raises(DataError, match=rf"Could not download {server.url}{STEMS[0]}\.gz in 3 tries: .*403"):
        load_mnist()


def test_an_unreachable_server_is_given_up_before_three_slow_tries(monkeypatch):
    monkeypatch.setattr(download, "_UNREACHABLE_S", -1.0)
    with pytest.raises(DataError, match="in 1 tries"):
        download.download(download.remote_files("mnist"))


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(cache, server):
    cache.parent.write_text("a file where the cache folder should be")
    with pytest.raises(DataError, match=r"Could not write .*train-images.*Free some space"):
        load_mnist()


def test_offline_the_error_lists_every_place_and_how_to_get_the_files(cache, tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "shelf"))
    with pytest.raises(DataError) as caught:
        load_mnist()
    message = str(caught.value)
    assert f"{tmp_path / 'shelf' / 'mnist'} (${DATA_VARIABLE}): no {STEMS[0]}[.gz]" in message
    assert f"{cache} (Paddle's cache)" in message
    assert f"download: Could not download {MNIST.TRAIN_IMAGE_URL} in 3 tries: [Errno 111]" in message
    assert f"Put {STEMS[0]}.gz" in message and f"into {cache}" in message and "fallback: digits" in message


def test_the_environment_variable_comes_before_the_cache(tmp_path, monkeypatch, cache):
    shelf = put(tmp_path / "shelf" / "mnist", small_files(seed=1))
    put(cache, small_files())
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "shelf"))
    assert load_mnist().source == f"mnist from {shelf} (${DATA_VARIABLE})"


def test_a_named_data_folder_without_the_files_is_passed_over_with_a_note(tmp_path, monkeypatch, server):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    splits = load_mnist()
    assert [note.split(":")[0] for note in splits.notes] == [f"${DATA_VARIABLE} was passed over"]


@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("fashion_mnist", "fashion-mnist")])
@pytest.mark.parametrize("nested", [False, True])
def test_a_root_holds_the_files_itself_or_in_the_datasets_subfolder(tmp_path, name, folder, nested):
    root = tmp_path / "root"
    put(root / folder if nested else root, small_files())
    splits = load_mnist(name, root=root)
    assert len(splits.train) == 10
    assert splits.source == f"{name} from {root / folder if nested else root}"


def test_plain_files_and_the_dotted_spelling_are_found_too(tmp_path):
    files = {name[:-3].replace("-idx", ".idx"): gzip.decompress(data) for name, data in small_files().items()}
    put(tmp_path / "root", files)
    put(tmp_path / "gz", small_files())
    assert "train-images.idx3-ubyte" in files
    plain, packed = load_mnist(root=tmp_path / "root"), load_mnist(root=tmp_path / "gz")
    assert plain.train.identity() == packed.train.identity()


def test_a_root_without_the_files_says_what_was_looked_for_and_what_is_there(tmp_path, server):
    files = small_files()
    del files[f"{STEMS[3]}.gz"]
    root = put(tmp_path / "root", files)
    with pytest.raises(DataError) as caught:
        load_mnist(root=root)
    message = str(caught.value)
    assert f"a folder holding {STEMS[2]}.gz, {STEMS[0]}.gz, {STEMS[1]}.gz" in message
    assert f"Looked for {STEMS[0]}[.gz]" in message and "mnist.json.gz" in message
    assert server.asked == []


def test_a_root_that_is_nowhere_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"data root .*nowhere, which is no folder"):
        load_mnist(root=tmp_path / "nowhere")


def test_image_and_label_files_of_different_sets_are_named(tmp_path):
    files = {**small_files(), f"{STEMS[1]}.gz": small_files(count=7)[f"{STEMS[1]}.gz"]}
    with pytest.raises(DataError, match=rf"{STEMS[0]}\.gz has 12 images but .*{STEMS[1]}\.gz has 7 labels"):
        load_mnist(root=put(tmp_path / "root", files))


@pytest.mark.parametrize(("valid", "count"), [("auto", 2), (3, 3), (0.25, 3), (0, 0), (0.0, 0), (11, 11)])
def test_validation_samples_come_from_the_end_of_the_training_files(tmp_path, valid, count):
    root = put(tmp_path / "root", small_files())
    splits = load_mnist(root=root, valid=valid)
    assert splits.train.labels.tolist() == [i % 10 for i in range(12 - count)]
    if count:
        assert splits.valid.labels.tolist() == [i % 10 for i in range(12 - count, 12)]
    else:
        assert splits.valid is None


@pytest.mark.parametrize("valid", [-1, 12, 1.0, -0.5, 0.99, "most", True])
def test_a_validation_size_out_of_range_is_refused(tmp_path, valid):
    root = put(tmp_path / "root", small_files())
    with pytest.raises(DataError, match=rf"valid is {valid!r}; expected 'auto', a count in 0\.\.11 "):
        load_mnist(root=root, valid=valid)


def test_the_transform_goes_to_the_train_part_and_the_eval_transform_to_the_others(tmp_path):
    root = put(tmp_path / "root", small_files())
    splits = load_mnist(root=root, transform=lambda _: "augmented", eval_transform=lambda _: "plain")
    assert [part[0][0] for part in (splits.train, splits.valid, splits.test)] == [
        "augmented",
        "plain",
        "plain",
    ]
    only_train = load_mnist(root=root, transform=lambda _: "augmented")
    assert only_train.valid.can_gather and only_train.test.can_gather and not only_train.train.can_gather


def book(scale: float, counts=(5, 1, 2)) -> tuple[list, np.ndarray]:
    images = np.random.default_rng(0).integers(0, 256, (sum(counts), 784), dtype=np.uint8)
    images[0, :256] = np.arange(256)
    parts, start = [], 0
    for count in counts:
        rows = images[start : start + count]
        parts.append([(rows / scale).astype(np.float32).tolist(), [i % 10 for i in range(start, start + count)]])
        start += count
    return parts, images


@pytest.mark.parametrize("scale", [255, 256])
@pytest.mark.parametrize("as_file", [True, False])
def test_the_paddle_books_file_gives_back_the_bytes(tmp_path, scale, as_file):
    parts, images = book(scale)
    path = tmp_path / "mnist.json.gz"
    path.write_bytes(gzip.compress(json.dumps(parts).encode()))
    splits = load_mnist(root=path if as_file else tmp_path)
    found = [part.images for part in (splits.train, splits.valid, splits.test)]
    np.testing.assert_array_equal(np.concatenate(found).reshape(-1, 784), images)
    assert [len(part) for part in found] == [5, 1, 2]
    assert splits.valid.labels.tolist() == [5] and splits.test.labels.tolist() == [6, 7]
    assert splits.source == f"mnist from {path} (Paddle book)"
    assert len(splits.notes) == (scale == 256)


def test_a_book_with_pixels_that_are_no_bytes_is_refused(tmp_path):
    parts, _ = book(255)
    parts[1][0][0][3] = 0.1234
    (tmp_path / "mnist.json.gz").write_text(json.dumps(parts))
    with pytest.raises(DataError, match=r"pixel value 0\.1234, which is neither n/255 nor n/256 for a byte"):
        load_mnist(root=tmp_path)


def test_a_book_with_a_label_that_is_no_whole_number_is_refused(tmp_path):
    parts, _ = book(255)
    parts[2][1][1] = 6.5
    (tmp_path / "mnist.json.gz").write_text(json.dumps(parts))
    with pytest.raises(DataError, match=r"\(test\) has 1 labels out of 0\.\.9: -1 at index 1"):
        load_mnist(root=tmp_path)


@pytest.mark.parametrize("text", ["{}", "[1, 2, 3]", "not JSON", "[[[[0.0]], [1]]]", "[[[[0.0], [0.0, 1.0]], [1, 2]]]"])
def test_a_file_that_is_not_the_book_is_refused(tmp_path, text):
    path = tmp_path / "mnist.json.gz"
    path.write_text(text)
    with pytest.raises(DataError, match="is not the Paddle book's MNIST file: expected JSON"):
        load_mnist(root=path)


def test_offline_the_digits_stand_in_with_one_clear_note():
    splits = load_mnist(fallback="digits")
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [1249, 249, 299]
    assert splits.train.images.shape[1:] == (28, 28, 1)
    assert splits.source == "the small digits of paddle_resume (fallback)"
    (note,) = splits.notes
    assert note.startswith(
        "MNIST was not found, so this run uses the 1,797 small digits that come with paddle_resume instead; "
    )
    assert MNIST.TRAIN_IMAGE_URL in note and "\n" not in note
    # As they came from scikit-learn, and as checkpoints have them: a resume still finds the same data.
    assert splits.train.identity() == "f2fd5a654ec9da03f60390d0bec3fcf7"
    assert splits.test.identity() == "0b6f4c9d836f39593860a3732d07d7c9"


def test_the_shipped_digits_are_the_file_that_their_source_names():
    import paddle_resume.data.digits as module

    folder = Path(module.__file__).parent
    text = gzip.decompress((folder / "digits.csv.gz").read_bytes())
    assert hashlib.sha256(text).hexdigest() in (folder / "digits_source.md").read_text()
    assert hashlib.sha256(text).hexdigest() == "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


def test_the_shipped_digits_are_those_of_scikit_learn():
    from sklearn import datasets

    mine, theirs = load_digits(), datasets.load_digits()
    np.testing.assert_array_equal(mine.images, theirs.images)
    np.testing.assert_array_equal(mine.labels, theirs.target)
    assert (mine.images.dtype, mine.labels.dtype) == (np.int64, theirs.target.dtype)


def test_a_digit_is_each_scanned_pixel_three_times_with_a_border_of_two():
    image, scan = load_mnist(fallback="digits").train.images[0, ..., 0], load_digits().images[0]
    assert not image[:2].any() and not image[-2:].any() and not image[:, :2].any() and not image[:, -2:].any()
    for offset in range(3):
        thinned = image[2 + offset : -2 : 3, 2 + offset : -2 : 3]
        np.testing.assert_array_equal(thinned, np.floor(scan * 255 / 16))


def test_data_that_is_there_is_used_before_the_digits(server):
    assert load_mnist(fallback="digits").source.startswith("mnist from")


def test_fashion_mnist_has_no_digits_fallback():
    with pytest.raises(ConfigError, match="fashion_mnist has no digits fallback"):
        load_mnist("fashion_mnist", fallback="digits")


def test_an_unknown_name_or_fallback_is_refused():
    with pytest.raises(ConfigError, match="Unknown dataset 'cifar'; expected one of 'mnist', 'fashion_mnist'"):
        load_mnist("cifar")
    with pytest.raises(ConfigError, match="Unknown fallback 'noise'; expected 'digits'"):
        load_mnist(fallback="noise")


def test_each_dataset_names_its_ten_classes():
    assert label_names("mnist") == tuple("0123456789")
    names = label_names("fashion_mnist")
    assert len(names) == 10 and (names[0], names[9]) == ("T-shirt/top", "Ankle boot")
    with pytest.raises(ConfigError, match="Unknown dataset"):
        label_names("cifar")


@needs_real_data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_files_split_as_in_the_paddle_book(name, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(REAL))
    splits = load_mnist(name)
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [50_000, 10_000, 10_000]
    assert splits.train.images.shape[1:] == (28, 28, 1)
    assert splits.notes == []


@needs_real_data
def test_the_first_real_sample_is_the_one_paddle_reads():
    folder = Path(str(REAL)) / "mnist"
    theirs = MNIST(str(folder / f"{STEMS[2]}.gz"), str(folder / f"{STEMS[3]}.gz"), mode="test", backend="cv2")
    mine = load_mnist(root=folder).test
    for index in (0, 1, 9_999):
        image, label = theirs[index]
        np.testing.assert_array_equal(mine.images[index, ..., 0], image)
        assert mine[index][1].tolist() == label.tolist()
