"""Trainings of the big tenant, one after the other, as long as the benchmark wants one beside."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from dagster import DagsterInstance, DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from benchmarks.rescoring_installation import BIG, await_true
from sensors.tenants import score_tenant

_START_S = 180.0
_ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)


@contextmanager
def training_beside(instance: DagsterInstance, port: int) -> Iterator[None]:
    """The job score_tenant of the big tenant at work when the body begins, and again whenever it
    has ended; stopped afterwards. Raises when one fails."""
    client = DagsterGraphQLClient("127.0.0.1", port_number=port)
    stop = threading.Event()
    first = _launch(client)
    await_true("A training is at work", lambda: _works(instance, first), _START_S)
    with ThreadPoolExecutor(max_workers=1) as thread:
        following = thread.submit(_follow, instance, client, first, stop)
        try:
            yield
        finally:
            stop.set()
            following.result()


def _launch(client: DagsterGraphQLClient) -> str:
    return client.submit_job_execution(
        score_tenant.name,
        repository_location_name="galena",
        repository_name="__repository__",
        tags={"dagster/partition": BIG},
    )


def _works(instance: DagsterInstance, run_id: str) -> bool:
    """Whether it is past its imports: its first step has begun to read."""
    steps = instance.get_run_step_stats(run_id)
    return any(s.step_key == "lead_features" and s.start_time is not None for s in steps)


def _follow(
    instance: DagsterInstance, client: DagsterGraphQLClient, run_id: str, stop: threading.Event
) -> None:
    while not stop.wait(1.0):
        status = instance.get_run_by_id(run_id)
        if status is None or status.status not in _ENDED:
            continue
        if status.status is not DagsterRunStatus.SUCCESS:
            raise RuntimeError(f"The training beside did not succeed: {status.status.value}")
        run_id = _launch(client)
    # It may have ended by itself since.
    with suppress(DagsterGraphQLClientError):
        client.terminate_run(run_id)
