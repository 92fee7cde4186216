import contextlib
import io
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.cli.terminal import TerminalReporter, _board, print_error
from pipeline.progress import Progress
from pipeline.records import EpochRecord

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


def test_an_epoch_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter() as reporter:
        reporter.epoch(RECORD, 30)

    line = "epoch  3/30   cost 0.5000   accuracy  87.50%   val cost 0.2500   val accuracy  93.75%   1.2 s\n"
    assert line == capsys.readouterr().out


def test_a_training_of_several_is_a_line_whenever_its_state_changes(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = Progress(name="gru-s1", epochs=30), Progress(name="rnn-s1", epochs=30)
    with TerminalReporter() as reporter:
        reporter.trainings([one, other], None)
        one.state, one.record, one.seconds, one.left = "trains", RECORD, 12.4, 130.0
        reporter.trainings([one, other], None)
        one.seconds = 13
        reporter.trainings([one, other], None)

    assert "gru-s1   trains   3/30   0.5000   93.75%   12 s   2 min\n" == capsys.readouterr().out


def test_a_training_of_several_is_a_line_per_epoch_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = Progress(name="gru-s1", epochs=30, state="trains")
    with TerminalReporter() as reporter:
        for epoch in (1, 1, 2):
            one.record = replace(RECORD, epoch=epoch)
            reporter.trainings([one], None)

    lines = ["gru-s1   trains   1/30   0.5000   93.75%", "gru-s1   trains   2/30   0.5000   93.75%"]
    assert lines == capsys.readouterr().out.splitlines()


def report_everything(reporter: TerminalReporter) -> None:
    reporter.note("noted")
    reporter.batches(1, 2, 3, 4)
    reporter.epoch(RECORD, 30)
    reporter.trainings([Progress(name="gru-s1", epochs=30, state="trains", record=RECORD)], None)
    reporter.table(("", "seeds"), [("gru", "3")])
    reporter.result("came of it")


def test_quiet_shows_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter(quiet=True) as reporter:
        report_everything(reporter)

    assert ("      seeds\ngru       3\ncame of it\n", "") == capsys.readouterr()


def test_beside_results_for_a_program_all_else_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter(aside=True) as reporter:
        report_everything(reporter)

    shown, aside = capsys.readouterr()
    assert "      seeds\ngru       3\ncame of it\n" == shown
    assert ["noted", "epoch ", "gru-s1"] == [
        line[:6].rstrip("\n") if line[0] != "n" else line for line in aside.splitlines()
    ]


def on_a_terminal(code: str, **environment: str) -> str:
    """Return what a program writes to a terminal."""
    import pty  # Windows has none

    reading, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", f"from pipeline.cli.terminal import *; {code}"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        | {"TERM": "xterm-256color"}
        | environment,
    ) as process:
        os.close(terminal)
        written = b""
        with contextlib.suppress(OSError):  # how the end of a terminal reads
            while read := os.read(reading, 1024):
                written += read
        process.wait()
    os.close(reading)
    return written.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_an_error_is_red_on_a_terminal_and_not_with_no_color() -> None:
    assert "\x1b[1;31mError:" in on_a_terminal("print_error('x')")
    assert "Error: x\r\n" == on_a_terminal("print_error('x')", NO_COLOR="1")


def drawn(trainings: list[Progress], *, height: int) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(_board(trainings, 130.0, height=height))
    return str(console.file.getvalue())  # type: ignore[attr-defined] # it is the StringIO above


def test_the_table_of_trainings_shows_all_that_fit() -> None:
    ended = Progress(name="gru-s1", epochs=30, state="ended", record=RECORD, seconds=99.6, left=0.0)
    going = Progress(name="gru-s2", epochs=30, state="trains", record=RECORD, seconds=12.4, left=65.0)
    queued = Progress(name="rnn-s1", epochs=30)

    table = drawn([ended, going, queued], height=3)

    assert ["gru-s2", "trains", "3/30", "0.5000", "93.75%", "12", "s", "65", "s"] == table.splitlines()[2].split()
    assert "rnn-s1" in table
    assert "1 of 3 ended, about 2 min left" in table
    crowded = drawn([ended, going, queued], height=2)
    assert "gru-s2" in crowded
    assert "rnn-s1" not in crowded


def test_progress_is_not_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter() as reporter:
        reporter.transfer("train-images-idx3-ubyte.gz", 5, 10)
        reporter.batches(1, 30, 5, 10)

    assert "" == capsys.readouterr().out


def test_a_table_is_aligned_and_its_lines_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalReporter() as reporter:
        reporter.table(("", "seeds", "x" * 100), [("gru [64]", "3", "98.74 ± 0.10"), ("rnn", "10", "1")])

    lines = capsys.readouterr().out.splitlines()
    assert [len("gru [64]   seeds   ") + 100] * 3 == [len(line) for line in lines]
    assert "gru [64]       3   " + " " * 88 + "98.74 ± 0.10" == lines[1]


def test_an_error_is_one_whole_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    message = f"cell: expected [this], received {'x' * 200}."

    print_error(message)

    assert ("", f"Error: {message}\n") == capsys.readouterr()


@pytest.mark.parametrize(("stream", "other"), [("stdout", "stderr"), ("stderr", "stdout")])
def test_the_work_goes_on_when_nobody_reads_any_more(stream: str, other: str) -> None:
    """As with `| head`: the reader is gone before the first line."""
    code = (
        "import sys; from pipeline.cli.terminal import *; input()\n"
        f"with TerminalReporter(aside={stream == 'stderr'}) as reporter:\n"
        "    for number in range(3): reporter.note(f'epoch {number}')\n"
        f"sys.{other}.write('went on')"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        getattr(process, stream).close()
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.close()
        heard = getattr(process, other).read()
    assert (0, "went on") == (process.returncode, heard)
