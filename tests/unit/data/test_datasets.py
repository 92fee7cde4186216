import hashlib
import re
from pathlib import Path

import pytest

from pipeline.data import datasets
from pipeline.data.datasets import CATALOGUE, Published
from tests.unit.data_fixtures import STEMS, as_gz, labels, opened, set_digest, small_set


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_complete(name: str) -> None:
    entry = CATALOGUE[name]
    assert [True] * 4 == [bool(re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", d)) for d in entry.digests]
    assert 10 == len(set(entry.class_names))
    assert all(re.fullmatch("https?://.*/", mirror) for mirror in entry.mirrors)
    assert bool(entry.mirrors) == (name != "digits")


def test_published_mnist_is_recognised(mnist_folder: Path) -> None:
    files = {path.name: path.read_bytes() for path in mnist_folder.glob("*-ubyte*")}
    assert "mnist" == datasets.recognise(opened(files))


def test_one_other_label_makes_it_another_data_set() -> None:
    first, second = opened(small_set()), opened(small_set(TEST_LABELS=labels([1, 1, 0, 1])))
    assert f"custom-{set_digest(small_set())[:8]}" == datasets.recognise(first)
    assert datasets.recognise(first) != datasets.recognise(second)


def test_content_is_the_same_compressed_or_not() -> None:
    assert datasets.recognise(opened(small_set())) == datasets.recognise(opened(as_gz(small_set())))


def test_where_only_the_md5_of_the_gz_is_published_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    files = as_gz(small_set())
    md5s = tuple(f"md5:{hashlib.md5(files[f'{stem}.gz'], usedforsecurity=False).hexdigest()}" for stem in STEMS)
    monkeypatch.setitem(CATALOGUE, "kmnist", Published(digests=md5s, class_names=("no", "yes")))
    assert "kmnist" == datasets.recognise(opened(files))
    assert f"custom-{set_digest(small_set())[:8]}" == datasets.recognise(opened(small_set()))
