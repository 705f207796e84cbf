"""How each model of customers and deals is learnt from a tenant's records, or what is lacking."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from sqlalchemy import Connection

    from ml.deal_training import Report
    from ml.gate import Gate
    from ml.kinds import AnyModel
    from ml.settings import Governance
    from ml.spec import FeatureSpec
    from warehouse.database import Database
    from warehouse.training_recording import Recording

Learner: TypeAlias = "Callable[[Database, str, Recording, datetime], Learnt]"

# Of customers who left: with fewer not even the rate is known to within a factor of two.
FEWEST_CHURNED = 10


@dataclass(frozen=True)
class Learnt:
    """What came of a training.

    model: None where there is too little for so much as a base rate. lacking: what is missing and
    how much of it is needed; None where a model of its own came out. figures: by name, for the job
    and the materialization. tables: the same, in Markdown. data: as in warehouse.models. gate: what
    is asked of it before it may serve.
    """

    model: "AnyModel | None"
    lacking: str | None
    algorithm: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    gate: "Callable[[Connection, Governance], Gate]" = lambda *_: _passed()


def churn(database: "Database", tenant_id: str, job: "Recording", now: datetime) -> Learnt:
    """From customers at past moments, and whether they left within the tenant's horizon."""
    from assets.model_record import figures
    from ml import churn as customers_as_leads
    from ml import training
    from warehouse import customers, model_gate, tenants

    with database.tenant(tenant_id) as connection:
        horizon_days = tenants.find(connection).horizon_days
        counts = customers.counts(connection, tenant_id)
    if counts["churned"] < FEWEST_CHURNED:
        return Learnt(
            None,
            f"{counts['churned']} of {counts['customers']} customers have churned_at, at least"
            f" {FEWEST_CHURNED} are needed",
        )
    with database.reader(tenant_id) as reader:
        history = customers_as_leads.history(
            customers.times(reader, tenant_id),
            customers.versions(reader, tenant_id),
            customers.interactions(reader, tenant_id),
            as_of=now,
            horizon_days=horizon_days,
        )
    if not len(history.label):
        return Learnt(
            None,
            f"the records of churn reach back less than the horizon of {horizon_days} days",
        )
    data = _data(job, database, tenant_id, history.spec, now, history.matrix, history.label)
    trained = training.train(
        history, trained_at=now, horizon_days=horizon_days, settings=_settings(job),
        progress=job.progress,
    )  # fmt: skip
    report = trained.report
    # Said of leads in ml.training.
    lacking = report.lacking and report.lacking.replace("converted", "churned")
    report = replace(report, lacking=lacking)
    return Learnt(
        trained.model,
        lacking,
        report.algorithm,
        report.to_json(),
        figures(report),
        {},
        data,
        lambda connection, governance: model_gate.judged(
            connection, tenant_id, trained, governance, "customer_churn"
        ),
    )


def value(database: "Database", tenant_id: str, job: "Recording", now: datetime) -> Learnt:
    """From won deals as they began, and what they brought."""
    from ml import deal_training, features
    from ml.deal_candidates import Deals
    from warehouse import customers

    with database.tenant(tenant_id) as connection:
        counts = customers.counts(connection, tenant_id)
    if counts["won_with_amount"] < deal_training.FEWEST_FOR_MEDIAN:
        return Learnt(
            None,
            f"{counts['won_with_amount']} won deals have an amount above 0 and closed_at"
            f" ({counts['won_deals']} are won), at least {deal_training.FEWEST_FOR_MEDIAN} are"
            f" needed for a median, {deal_training.FEWEST} for a model",
        )
    with database.reader(tenant_id) as reader:
        won = customers.won_deals(reader, tenant_id)
    kinds = won.interactions["kind"].value_counts(sort=True)["kind"].to_list()
    spec = replace(features.infer(won.rows.select("attributes"), kinds), subject="deal")
    deals = Deals(
        spec,
        features.build(spec, won.rows, won.interactions),
        won.rows["amount"].to_numpy(),
        won.rows["won_at"].dt.replace_time_zone(None).to_numpy(),
        won.rows["buyer"].rank("dense").to_numpy().astype("intp"),
    )
    data = _data(job, database, tenant_id, spec, now, deals.matrix, deals.amount)
    trained = deal_training.train(deals, trained_at=now, progress=job.progress)
    report = trained.report
    return Learnt(
        trained.model,
        report.lacking,
        report.algorithm,
        report.to_json(),
        _value_figures(report),
        {},
        data,
        lambda _, governance: _of_values(report, governance),
    )


def segments(database: "Database", tenant_id: str, job: "Recording", now: datetime) -> Learnt:
    """From the customers who are present, as they stand."""
    from ml import churn as customers_as_leads
    from ml import features, segment_training
    from warehouse import customers

    with database.tenant(tenant_id) as connection:
        counts = customers.counts(connection, tenant_id)
    if counts["present"] < segment_training.FEWEST:
        return Learnt(
            None,
            f"{counts['present']} present customers, at least {segment_training.FEWEST} are needed"
            " to look for groups",
        )
    with database.reader(tenant_id) as reader:
        present = customers.present(reader, tenant_id, now)
    spec = customers_as_leads.spec_of(present.rows, present.interactions)
    matrix = features.build(spec, present.rows, present.interactions)
    data = _data(job, database, tenant_id, spec, now, matrix)
    trained = segment_training.train(spec, matrix, trained_at=now, progress=job.progress)
    report = trained.report
    found = {"silhouette": report.silhouette, "stability": report.stability}
    lines = ["| segment | customers | share | typical |", "|---|---|---|---|"]
    lines += [
        f"| {one.segment}: {one.name} | {one.customers} | {one.share:.0%} |"
        f" {', '.join(f'{column} {typical}' for column, typical in one.typical.items())} |"
        for one in report.profiles
    ]
    told = f"{report.segments} segments of {report.customers} customers"
    return Learnt(
        trained.model,
        report.lacking,
        f"mixture, {report.shape}",
        report.to_json(),
        {
            "segments": float(report.segments),
            **{name: figure for name, figure in found.items() if figure is not None},
        },
        {"segments by column": "\n".join(lines)},
        data,
        lambda *_: _passed("stability", told),
    )


def _settings(job: "Recording") -> Any:
    """A tenant's settings name attributes of its leads; of customers, the job alone decides."""
    from ml.settings import TrainingSettings

    return TrainingSettings.model_validate({"algorithms": job.request.algorithms})


def _data(
    job: "Recording",
    database: "Database",
    tenant_id: str,
    spec: "FeatureSpec",
    now: datetime,
    *arrays: "np.ndarray[Any, Any]",
) -> dict[str, Any]:
    """The snapshot that is learnt from, noted in the job."""
    digest = hashlib.sha256(json.dumps(spec.to_json(), sort_keys=True).encode())
    for array in arrays:
        digest.update(array.tobytes())
    rows, sha256 = len(arrays[0]), digest.hexdigest()
    with database.tenant(tenant_id) as connection:
        job.learns_from(connection, feature_set=0, rows=rows, sha256=sha256)
    return {"rows": rows, "sha256": sha256, "as_of": now.isoformat()}


def _value_figures(report: "Report") -> dict[str, float]:
    found: dict[str, float] = {}
    for name, figures in (("hold-out", report.model), ("median", report.median)):
        if figures is not None:
            found |= {f"{name} {figure}": value for figure, value in asdict(figures).items()}
    return {"deals": float(report.deals), **found}


def _of_values(report: "Report", governance: "Governance") -> "Gate":
    """A model is better than the median, or the median serves; its intervals have to hold."""
    from ml.deal_value import LEVEL
    from ml.gate import Check, Gate

    if report.model is None or report.against_median is None:
        return _passed("error", "the median, of which too few deals are there to judge it by")
    found, coverage = report.against_median, report.model.coverage
    by_chance = 2 * (LEVEL * (1 - LEVEL) / report.judged) ** 0.5
    told = (
        f"mean absolute error of the logarithm {found.mean:+.4f} beside the median's (95 %"
        f" interval {found.low:+.4f} to {found.high:+.4f}): {report.algorithm} serves"
    )
    return Gate(
        (
            Check("error", True, told),
            Check(
                "coverage",
                abs(coverage - LEVEL) <= governance.calibration_error + by_chance,
                f"{coverage:.0%} of {report.judged} amounts lay in their {LEVEL:.0%} interval;"
                f" {by_chance:.3f} of the difference may be chance, and"
                f" {governance.calibration_error} more is tolerated",
            ),
        )
    )


def _passed(name: str = "nothing asked", sentence: str = "") -> "Gate":
    from ml.gate import Check, Gate

    return Gate((Check(name, True, sentence),))
