"""Ends a Dagster run together with its process, whatever has become of the latter."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from dagster import DagsterError, DagsterEventType, DagsterInstance, DagsterRun

# What computes in Python ends within a moment; what does not is killed.
_GRACE_SECONDS = 3.0
_PATIENCE_SECONDS = 5.0


def terminate(instance: DagsterInstance, run: DagsterRun) -> None:
    """Return when the run has ended and its process is gone."""

    def finished() -> bool:
        found = instance.get_run_by_id(run.run_id)
        return found is None or found.is_finished

    if finished():
        return
    process = process_of(instance, run)
    if process is not None:
        instance.report_run_canceling(run)
        _end(process)
    else:
        # Raises when the code server is away: then nothing is left of the run.
        with suppress(DagsterError):
            instance.run_coordinator.cancel_run(run.run_id)
        await_true(finished, _GRACE_SECONDS)
    if not finished():
        instance.report_run_canceled(run, message="Its process is gone: it was cancelled.")


def _end(process: psutil.Process) -> None:
    """Ask the process to end, and kill one that does not hear.

    By the signal that Dagster's own thread in the process would send: while a library holds the
    interpreter that thread does not run, and the code server waits for it for ever.
    """
    with suppress(psutil.NoSuchProcess):
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GRACE_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_PATIENCE_SECONDS)


def process_of(instance: DagsterInstance, run: DagsterRun) -> psutil.Process | None:
    """The run's process, if it is one of this machine and lives.

    Its number may be another process's by now: that one was started later.
    """
    if "socket" not in json.loads(run.tags.get(".dagster/grpc_info", "{}")):
        return None
    events = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    for record in events.records:
        event = record.event_log_entry.dagster_event
        pid = event.engine_event_data.metadata.get("pid") if event else None
        if pid is None:
            continue
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(int(str(pid.value)))
            if process.create_time() < record.event_log_entry.timestamp:
                return process
    return None


def await_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
