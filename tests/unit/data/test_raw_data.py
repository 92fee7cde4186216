import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.data import raw_data
from pipeline.data.raw_data import RawData
from pipeline.errors import DataError
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import (
    STEMS,
    TEST_LABELS,
    TRAIN_LABELS,
    as_gz,
    labels,
    opened,
    set_digest,
    sha256,
    small_set,
    write,
)

CUSTOM, OTHER = "custom-00000001", "custom-00000002"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of all raw folders, under the data_dir ``tmp_path``."""
    return write(tmp_path / "raw", {})


def keep(root: Path, files: Mapping[str, bytes], *, source: str, name: str = CUSTOM) -> RawData:
    return raw_data.keep(root, name, opened(files), source=source, origin=source, inputs={}, code="c")


def test_what_is_kept_is_plain_and_found_by_its_source(root: Path) -> None:
    keep(root, as_gz(small_set()), source="/here")
    raw = raw_data.locate(DataSettings(source="/here", data_dir=root.parent))
    assert (CUSTOM, set_digest(small_set()), "/here") == (raw.name, raw.digest, raw.provenance.origin)
    assert small_set() == {stem: (raw.folder / stem).read_bytes() for stem in STEMS}
    assert small_set()[TRAIN_LABELS][8:] == raw_data.read_arrays(raw)[1].tobytes()


def test_a_source_whose_content_changed_stands_for_what_it_gave_last(root: Path) -> None:
    settings = DataSettings(source="/here", data_dir=root.parent)
    other = small_set(TEST_LABELS=labels([0] * 4))
    for name, files in ((CUSTOM, small_set()), (OTHER, other), (CUSTOM, small_set())):
        keep(root, files, source="/here", name=name)
        assert name == raw_data.locate(settings).name


def test_the_same_content_may_come_from_several_sources(root: Path) -> None:
    for source in ("/here", "/there", "mirrors"):
        keep(root, small_set(), source=source, name="mnist")
    for source in ("/here", "/there"):
        assert source == raw_data.locate(DataSettings(source=source, data_dir=root.parent)).provenance.origin
    assert "mirrors" == raw_data.locate(DataSettings(data_dir=root.parent)).provenance.origin


def test_a_known_data_set_is_found_by_its_name_wherever_it_came_from(root: Path) -> None:
    keep(root, small_set(), source="/here", name="kmnist")
    assert "/here" == raw_data.locate(DataSettings(dataset="kmnist", data_dir=root.parent)).provenance.origin


def test_what_is_not_there_yet_comes_with_the_command_that_gets_it(tmp_path: Path) -> None:
    settings = DataSettings(dataset="digits", data_dir=tmp_path / "my data")
    command = f"`pipeline download --dataset digits --data-dir '{tmp_path}/my data'`"
    with pytest.raises(DataError, match=f"^data_dir: expected digits in .*, found none. First run {command}"):
        raw_data.locate(settings)
    with pytest.raises(DataError, match=r"expected data from /here in .* `pipeline download --source /here --data-dir"):
        raw_data.locate(DataSettings(source="/here", data_dir=tmp_path))


def test_a_folder_whose_manifest_is_broken_is_not_there(root: Path) -> None:
    raw = keep(root, small_set(), source="/here")
    (raw.folder / "manifest.json").write_text('{"name": "custom-1"')
    with pytest.raises(DataError, match="found none"):
        raw_data.locate(DataSettings(source="/here", data_dir=root.parent))


def test_a_file_that_changed_or_went_is_named(root: Path) -> None:
    raw = keep(root, small_set(), source="/here")
    raw_data.verify(raw)
    (raw.folder / TEST_LABELS).write_bytes(labels([0] * 4))
    with pytest.raises(DataError, match=f"{TEST_LABELS}: expected the digest .*, received {sha256(labels([0] * 4))}"):
        raw_data.verify(raw)
    (raw.folder / TEST_LABELS).unlink()
    with pytest.raises(DataError, match=f"{TEST_LABELS}: expected the digest .*, received No such file or directory"):
        raw_data.read_arrays(raw)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "../../escaped"),
        ("name", "/escaped"),
        ("name", OTHER),
        ("name", "custom-1"),
        ("digest", "../escaped"),
        ("digest", "0" * 64),
        ("files", {"../../secret": sha256(b"secret")}),
        ("files", {}),
        ("provenances", [{"source": "/here", "origin": "/here", "inputs": {}, "obtained": "2020-01-01T00:00:00"}]),
    ],
)
def test_a_manifest_that_this_pipeline_would_not_have_written_there_is_not_believed(
    root: Path, name: str, value: object
) -> None:
    manifest = keep(root, small_set(), source="/here").folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {name: value}))
    with pytest.raises(DataError, match="found none"):
        raw_data.locate(DataSettings(source="/here", data_dir=root.parent))


def test_a_manifest_in_another_folder_is_not_believed(root: Path) -> None:
    keep(root, small_set(), source="/here").folder.rename(root / OTHER)
    with pytest.raises(DataError, match="found none"):
        raw_data.locate(DataSettings(source="/here", data_dir=root.parent))
