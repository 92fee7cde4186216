"""What a notebook shows of a stage, drawn by IPython; a stand-in for it keeps what is drawn."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

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
        self.update = self.shown.append


@pytest.fixture
def areas(monkeypatch: pytest.MonkeyPatch) -> list[Area]:
    """Return the areas of a notebook, as they arise."""
    arisen: list[Area] = []

    def show(content: str, *, display_id: bool) -> Area:
        assert display_id
        arisen.append(Area(content))
        return arisen[-1]

    ipython, drawing = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython).update(get_ipython=lambda: SimpleNamespace(kernel=object()))
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


def test_each_subject_is_one_area_that_grows(areas: list[Area], capsys: pytest.CaptureFixture[str]) -> None:
    with notebook.reporter() as reporter:
        reporter.batches(3, 30, 5, 10)
        reporter.epoch(RECORD, 30)
        reporter.batches(4, 30, 1, 10)
        reporter.transfer("images.gz", 1, None)
        reporter.trainings([Progress(name="gru-s1", epochs=3, state="<trains>")], 20.0)
        reporter.table(("", "seeds"), [("gru", "3")])
        reporter.table(("", "trial"), [("gru", "1")])
        reporter.result("came of it")

    assert [3, 1, 1, 1, 1] == [len(area.shown) for area in areas]
    first, second, third = areas[0].shown
    assert 'epoch 3/30 <progress value="5" max="10"></progress>' == first
    assert all(f"<td>{cell}</td>" in second for cell in ("3/30", "0.5000", "87.50%", "0.2500", "93.75%", "1.2"))
    assert third == f'{second}epoch 4/30 <progress value="1" max="10"></progress>'
    assert "&lt;trains&gt;" in areas[2].shown[0]
    assert areas[2].shown[0].endswith("about 20 s left")
    assert "came of it\n" == capsys.readouterr().out


def test_without_ipywidgets_a_notebook_shows_no_warning_of_progress_bars() -> None:
    """MLflow imports tqdm, which warns in a notebook that lacks them; here a stand-in for its kernel."""
    code = (
        "import sys, types; sys.modules['IPython'] = types.SimpleNamespace(get_ipython=object); "
        "sys.modules['ipykernel.zmqshell'] = sys.modules['ipywidgets'] = None; "
        "from pipeline.startup import quieten; {} import tqdm.auto"
    )
    for call, warned in (("", True), ("quieten();", False)):
        command = [sys.executable, "-c", code.format(call)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert warned == ("IProgress not found" in done.stderr)
