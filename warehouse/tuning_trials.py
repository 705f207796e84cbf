"""The trials of searches for hyperparameters: written as they end, read to go on from them."""

from sqlalchemy import Connection, select

from ml.tuning import Trial
from warehouse.schema import tuning_trials


def study_name(sha256: str, algorithm: str) -> str:
    """The study of an algorithm on the feature set with this digest: trials on other data have
    other losses, and cannot be compared."""
    return f"{algorithm} {sha256}"


def finished(connection: Connection, tenant_id: str, study: str) -> list[Trial]:
    """The trials of the study that have ended, by number."""
    rows = connection.execute(
        select(*(tuning_trials.c[name] for name in Trial.__dataclass_fields__))
        .where(tuning_trials.c.tenant_id == tenant_id, tuning_trials.c.study == study)
        .order_by(tuning_trials.c.number)
    )
    # The keys of a JSON object are texts.
    return [
        Trial(
            row.number,
            row.parameters,
            {int(window): loss for window, loss in row.intermediate.items()},
            row.value,
            row.state,
        )
        for row in rows
    ]


def record(connection: Connection, tenant_id: str, study: str, trial: Trial) -> None:
    """Store a trial that has ended."""
    connection.execute(
        tuning_trials.insert().values(tenant_id=tenant_id, study=study, **vars(trial))
    )
