"""What `galena up` starts: kept running, and given up when that is of no use."""

import contextlib
import sys
import time
from pathlib import Path

import pytest

from orchestration.services import Part, Supervisor
from warehouse.errors import GalenaError

SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_part_that_ends_is_started_again_until_it_ends_too_often(tmp_path: Path) -> None:
    told: list[str] = []
    command = ["/bin/sh", "-c", "echo its last words; exit 3"]
    supervisor = Supervisor(tmp_path, tmp_path, told.append, contextlib.nullcontext)
    try:
        supervisor.start([Part("A part", command, lambda: True, {})])
        with pytest.raises(GalenaError, match="A part ended by itself: its last words"):
            _check_until_it_raises(supervisor)
        assert told == ["[yellow]A part ended by itself, and was started again.[/yellow]"] * 5
    finally:
        supervisor.stop()


def test_the_other_parts_are_left_alone(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(tmp_path, tmp_path, told.append, contextlib.nullcontext)
    try:
        supervisor.start([Part("Calm", SLEEPS, lambda: True, {})])
        supervisor.start([Part("Short", ["/bin/sleep", "0.2"], lambda: True, {})])
        while not told:
            supervisor.check()
            time.sleep(0.05)
        assert "Short" in told[0]
    finally:
        supervisor.stop()
    assert told[-1] == "[dim]Calm stopped[/dim]"


def _check_until_it_raises(supervisor: Supervisor) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        supervisor.check()
        time.sleep(0.05)
