"""What a notebook shows of a stage, drawn by IPython; a stand-in for it keeps what is drawn."""

import sys
from types import ModuleType
from typing import Any

import pytest

from pipeline.cli import notebook
from pipeline.cli.notebook import NotebookReporter
from pipeline.cli.terminal import TerminalReporter
from pipeline.progress import Progress
from tests.unit.cli.test_terminal import RECORD


class Area:
    """An output of a cell, and what it has shown."""

    def __init__(self, content: str) -> None:
        self.shown = [content]

    def update(self, content: str) -> None:
        self.shown.append(content)


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> list[Area]:
    """Return the areas of a notebook, as they arise."""
    arisen: list[Area] = []

    def show(content: str, *, display_id: bool) -> Area:
        assert display_id
        arisen.append(Area(content))
        return arisen[-1]

    shell: Any = type("Shell", (), {"kernel": object()})()
    ipython, drawing = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: shell)
    vars(drawing).update(HTML=str, display=show)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", drawing)
    return arisen


def test_a_notebook_is_known_by_its_kernel(areas: list[Area], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(notebook.reporter(), NotebookReporter)
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert isinstance(notebook.reporter(), TerminalReporter)
    monkeypatch.delitem(sys.modules, "IPython")
    assert isinstance(notebook.reporter(), TerminalReporter)


def test_the_epochs_are_one_table_that_grows(areas: list[Area]) -> None:
    with notebook.reporter() as reporter:
        reporter.batches(3, 30, 5, 10)
        reporter.epoch(RECORD, 30)
        reporter.batches(4, 30, 1, 10)

    (area,) = areas
    assert 'epoch 3/30 <progress value="5" max="10"></progress>' == area.shown[0]
    cells = ("3/30", "0.5000", "87.50%", "0.2500", "93.75%", "1.2")
    assert f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></table>" in area.shown[1]
    assert area.shown[2] == f'{area.shown[1]}epoch 4/30 <progress value="1" max="10"></progress>'


def test_each_subject_has_an_area_of_its_own(areas: list[Area], capsys: pytest.CaptureFixture[str]) -> None:
    with notebook.reporter() as reporter:
        reporter.transfer("images.gz", 1, None)
        reporter.transfer("images.gz", 2, 2)
        reporter.trainings([Progress(name="gru-s1", epochs=3, state="<trains>")], 20.0)
        reporter.table(("", "seeds"), [("gru", "3")])
        reporter.table(("", "trial"), [("gru", "1")])
        reporter.note("noted")
        reporter.result("came of it")

    assert [2, 1, 1, 1] == [len(area.shown) for area in areas]
    assert "<td>&lt;trains&gt;</td>" in areas[1].shown[0]
    assert areas[1].shown[0].endswith("about 20 s left")
    assert "noted\ncame of it\n" == capsys.readouterr().out
