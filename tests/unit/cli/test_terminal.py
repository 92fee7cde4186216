"""The output of a stage on a terminal and in a log."""

import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline.cli.terminal import TerminalReporter, print_error
from pipeline.epochs import EpochRecord
from pipeline.progress import Progress

RECORD = EpochRecord(
    epoch=3,
    cost=0.5,
    accuracy=0.875,
    val_cost=0.25,
    val_accuracy=0.9375,
    learning_rate=0.001,
    epoch_seconds=1.25,
    samples_per_second=800.0,
)
HEADINGS = "run   state   epoch   cost   val accuracy   seconds   left"


def test_a_log_of_several_runs_has_a_line_per_epoch_and_state(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, other = Progress(name="gru-s1", epochs=30), Progress(name="rnn-s1", epochs=30)
    with TerminalReporter() as reporter:
        reporter.trainings([one, other], None)
        one.state, one.record, one.seconds, one.left = "trains", RECORD, 12.4, 130.0
        for _ in range(2):
            reporter.trainings([one, other], None)
        one.record, one.seconds, one.left = replace(RECORD, epoch=4), 0, None
        reporter.trainings([one, other], None)

    expected = [
        HEADINGS,
        "gru-s1   trains   3/30   0.5000   93.75%   12 s   2 min",
        "gru-s1   trains   4/30   0.5000   93.75%",
    ]
    assert expected == capsys.readouterr().out.splitlines()


def report_everything(reporter: TerminalReporter) -> None:
    reporter.note("noted")
    reporter.batches(1, 2, 3, 4)
    reporter.epoch(RECORD, 30)
    reporter.trainings([Progress(name="gru-s1", epochs=30, state="trains", record=RECORD)], None)
    reporter.table(("", "seeds"), [("gru", "3"), ("gru [64]", "10")])
    reporter.result("came of it")


RESULTS = "           seeds\ngru            3\ngru [64]      10\ncame of it\n"
ASIDE = (
    "noted\nepoch  3/30   cost 0.5000   accuracy  87.50%   val cost 0.2500   val accuracy  93.75%   1.2 s\n"
    f"{HEADINGS}\ngru-s1   trains   3/30   0.5000   93.75%\n"
)


@pytest.mark.parametrize(
    ("options", "shown"),
    [({}, (ASIDE + RESULTS, "")), ({"quiet": True}, (RESULTS, "")), ({"aside": True}, (RESULTS, ASIDE))],
)
def test_without_a_terminal_there_are_whole_lines_and_no_bars(
    capsys: pytest.CaptureFixture[str], options: dict[str, bool], shown: tuple[str, str]
) -> None:
    with TerminalReporter(**options) as reporter:
        report_everything(reporter)
    assert shown == capsys.readouterr()


@pytest.fixture
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make rich treat the output as a terminal of 100 columns and 5 lines."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "5"}.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_an_error_is_one_whole_line_in_red_on_a_terminal_unless_no_color_is_set(
    a_terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"cell: expected [this], received {'x' * 200}."
    print_error(message)
    a_terminal.setenv("NO_COLOR", "1")
    print_error(message)
    assert ("", f"\x1b[1;31mError:\x1b[0m {message}\n\x1b[1mError:\x1b[0m {message}\n") == capsys.readouterr()


@pytest.mark.usefixtures("a_terminal")
def test_on_a_terminal_there_are_bars_and_a_table_of_the_runs_that_fit(capsys: pytest.CaptureFixture[str]) -> None:
    ended = Progress(name="gru-s1", epochs=30, state="ended", record=RECORD, seconds=99.6, left=0.0)
    others = [Progress(name=f"gru-s{seed}", epochs=30, state="trains", record=RECORD, left=65.0) for seed in (2, 3)]
    with TerminalReporter() as reporter:
        reporter.trainings([ended, *others], 130.0)
        table = capsys.readouterr().out
        reporter.note("noted")
        reporter.batches(1, 2, 3, 4)
        bar = capsys.readouterr().out
    assert ["gru-s2", "trains", "3/30", "0.5000", "93.75%", "65", "s"] in [line.split() for line in table.splitlines()]
    assert "1 of 3 ended, about 2 min left" in table
    assert "gru-s1" not in table
    assert f"epoch 1/2 {'█' * 22}{'░' * 8} 3/4" in bar


@pytest.mark.parametrize(("stream", "other"), [("stdout", "stderr"), ("stderr", "stdout")])
def test_the_work_continues_when_the_reader_has_left(stream: str, other: str) -> None:
    """The reader has left before the first line, as with `| head`."""
    code = (
        "import sys; from pipeline.cli.terminal import *; input()\n"
        f"with TerminalReporter(aside={stream == 'stderr'}) as reporter:\n"
        "    for number in range(3): reporter.note(f'epoch {number}')\n"
        f"sys.{other}.write('continued')"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        getattr(process, stream).close()
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
        heard = getattr(process, other).read()
    assert (0, "continued") == (process.returncode, heard)
