"""The board and the supervisor of `manage.py up`, with small programs in place of ours."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mia.embedded.board import Board, PartState
from mia.embedded.supervisor import Program, StoppedByUser, Supervisor, ended


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class TestBoard:
    """What is printed."""

    def test_terminal_shows_each_part_on_one_line_that_changes(self) -> None:
        out = Terminal()
        board = Board(out, ["web", "worker"])
        board.show("web", PartState.STARTING)
        board.show("web", PartState.READY, "http://127.0.0.1:8000")
        frames = out.getvalue().split("\x1b[2A")
        assert len(frames) == 2
        assert all(frame.count("\n") == 2 for frame in frames)
        assert "http://127.0.0.1:8000" in frames[1]

    def test_words_between_are_not_overwritten(self) -> None:
        out = Terminal()
        board = Board(out, ["web"])
        board.show("web", PartState.READY)
        board.say("MIA is ready.")
        board.show("web", PartState.FAILED)
        assert "\x1b[1A" not in out.getvalue().split("MIA is ready.")[1]

    def test_log_gets_a_plain_line_per_change_and_none_for_the_same_again(self) -> None:
        out = io.StringIO()
        board = Board(out, ["web", "dispatcher"])
        for _ in range(3):
            board.show("web", PartState.STARTING)
        assert out.getvalue().split() == ["0.0", "s", "web", "starting"]
        assert "\x1b" not in out.getvalue()

    @pytest.mark.parametrize(
        ("code", "words"), [(-9, "was killed by SIGKILL"), (1, "ended with exit code 1"), (0, "ended with exit code 0")]
    )
    def test_exit_codes_become_words(self, code: int, words: str) -> None:
        assert ended(code) == words


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor(Board(io.StringIO(), ["part", "other"]))
    yield supervisor
    supervisor.stop()


def printed(supervisor: Supervisor) -> str:
    out = supervisor.board.out
    assert isinstance(out, io.StringIO)
    return out.getvalue()


def program(tmp_path: Path, script: str, is_ready: Callable[[int], bool] = lambda _pid: True) -> Program:
    command = [sys.executable, "-c", script]
    return Program("part", command, tmp_path / "part.log", {**os.environ}, is_ready, advice="Look at the log.")


def tick_until(supervisor: Supervisor, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, printed(supervisor)
        supervisor.tick()
        time.sleep(0.02)


class TestSupervisor:
    """What happens to a program."""

    def test_program_is_starting_until_it_says_that_it_is_ready(self, supervisor: Supervisor, tmp_path: Path) -> None:
        flag = tmp_path / "ready"
        part = program(tmp_path, "import time; time.sleep(60)", lambda _pid: flag.exists())
        supervisor.start(part)
        supervisor.tick()
        assert part.state == PartState.STARTING
        flag.touch()
        supervisor.wait_until_ready()
        assert part.state == PartState.READY

    def test_death_is_told_with_the_log_the_advice_and_the_time(self, supervisor: Supervisor, tmp_path: Path) -> None:
        part = program(tmp_path, "print('no such table'); raise SystemExit(3)", lambda _pid: False)
        supervisor.start(part)
        tick_until(supervisor, lambda: part.deaths == 1)
        for words in ("part ended with exit code 3", "    no such table", "Look at the log.", "again in 1 s."):
            assert words in printed(supervisor)

    def test_each_further_death_waits_longer_up_to_half_a_minute(self, tmp_path: Path) -> None:
        part = program(tmp_path, "")
        waits = []
        for part.deaths in range(1, 8):
            waits.append(part.backoff_s())
        assert waits == [1, 2, 4, 8, 16, 30, 30]

    def test_dead_program_is_started_again(self, supervisor: Supervisor, tmp_path: Path) -> None:
        part = program(tmp_path, "import os; open('part.runs', 'a').write('x')")
        part.cwd = tmp_path
        supervisor.start(part)
        tick_until(supervisor, lambda: part.deaths == 2)
        assert (tmp_path / "part.runs").read_text() == "xx"

    def test_what_a_dead_program_started_is_ended_with_it(self, supervisor: Supervisor, tmp_path: Path) -> None:
        script = "import subprocess; print(subprocess.Popen(['sleep', '300']).pid, flush=True)"
        part = program(tmp_path, script)
        supervisor.start(part)
        tick_until(supervisor, lambda: part.deaths == 1)
        pid = int(part.log.read_text().split()[0])
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_signal_ends_the_watch(self, supervisor: Supervisor) -> None:
        supervisor.on_signal(15, None)
        with pytest.raises(StoppedByUser):
            supervisor.tick()

    def test_program_that_ignores_the_signal_is_killed_in_the_end(self, supervisor: Supervisor, tmp_path: Path) -> None:
        script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
        part = program(tmp_path, script)
        part.stop_timeout_s = 0.3
        supervisor.start(part)
        tick_until(supervisor, lambda: part.log.read_text() == "deaf\n")
        supervisor.stop()
        assert part.child is not None
        assert part.child.exit_code() == -9
