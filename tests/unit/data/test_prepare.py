from pathlib import Path

import pytest

from pipeline import digests
from pipeline.data import prepare
from pipeline.settings import DataSettings
from tests.unit.data_fixtures import STEMS, Remembering, set_digest, small_set, write

CUSTOM = f"custom-{set_digest(small_set())[:8]}"


@pytest.fixture
def settings(tmp_path: Path) -> DataSettings:
    return DataSettings(source=str(write(tmp_path / "mine", small_set())), data_dir=tmp_path / "data")


def test_data_is_obtained_and_split_in_one_go(settings: DataSettings) -> None:
    data, seconds = prepare.prepared(settings, Remembering())

    assert (CUSTOM, settings.source, (18, 2, 4)) == (
        data.name,
        data.source,
        tuple(len(split.labels) for split in (data.train, data.validation, data.test)),
    )
    assert ["seconds_download", "seconds_preprocess"] == list(seconds)
    assert min(seconds.values()) > 0


def test_what_is_there_is_skipped_and_each_of_its_files_read_once(
    settings: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = prepare.prepared(settings, Remembering())
    hashed: list[Path] = []
    of_file = digests.of_file

    def remembered(path: Path) -> str:
        hashed.append(path)
        return of_file(path)

    monkeypatch.setattr(digests, "of_file", remembered)
    reporter = Remembering()
    second, _ = prepare.prepared(settings, reporter)

    raw = settings.data_dir / "raw" / CUSTOM
    assert [raw / stem for stem in STEMS] == [path for path in hashed if path.is_relative_to(raw)]
    processed = [path for path in hashed if path.is_relative_to(first.folder)]
    assert (7, 7) == (len(processed), len(set(processed)))
    assert ["Skipped download: ", "Skipped preprocess: "] == [
        note.partition(CUSTOM)[0] for note in reporter.notes[:3:2]
    ]
    assert first.folder == second.folder


def test_the_data_has_the_origin_of_the_source_that_was_named(settings: DataSettings, tmp_path: Path) -> None:
    there = DataSettings(source=str(write(tmp_path / "there", small_set())), data_dir=settings.data_dir)
    for each in (settings, there, settings):
        assert each.source == prepare.prepared(each, Remembering())[0].source


@pytest.mark.parametrize("module", ["data/raw_data.py", "data/processed.py"])
def test_only_code_that_settles_the_kept_files_is_of_their_digest(module: str) -> None:
    without_effect = ("progress.py", "settings.py", "recipes.py", "data/sources.py", "data/prepare.py")
    assert set() == set(without_effect) & set(digests.closure(module))
    assert {"data/datasets.py", "data/idx.py", "data/raw_data.py"} <= set(digests.closure(module))


def test_the_code_of_the_splits_is_of_the_digest_of_processed_data() -> None:
    assert "data/splits.py" in digests.closure("data/processed.py")
    assert "data/splits.py" not in digests.closure("data/raw_data.py")
