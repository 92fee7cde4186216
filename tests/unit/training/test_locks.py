"""At most one process of a machine works on a run."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.training.locks import LockedError, RunLocks

NAME = "0123456789abcdef" * 2


def test_a_process_that_is_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.training.locks import RunLocks\n"
        f"with RunLocks(Path({str(tmp_path)!r})).hold({NAME!r}): print('held', flush=True); sys.stdin.read()"
    )
    locks = RunLocks(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "held\n" == process.stdout.readline()
        assert locks.is_held(NAME)
        with pytest.raises(LockedError, match=f"another process is training it, in .*{NAME}"), locks.hold(NAME):
            pass
        process.kill()
        process.wait()

    assert (True, False) == (locks.exists(NAME), locks.is_held(NAME))
    with locks.hold(NAME):
        pass


def test_asking_for_one_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    assert (False, False) == (RunLocks(tmp_path).exists(NAME), RunLocks(tmp_path).is_held(NAME))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")

    with pytest.raises(DataError, match="data_dir: expected a folder"), RunLocks(tmp_path).hold(NAME):
        pass
