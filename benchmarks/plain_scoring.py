"""The plain way to score leads with reasons: pandas, LightGBM's pred_contrib, to_sql.

What a careful first version looks like: vectorised where pandas makes that easy, no rows in loops.
For its time alone: its columns are cut or padded to the booster's, so its scores mean nothing.
"""

import json
from datetime import datetime

import lightgbm as lgb
import numpy as np
import pandas as pd
from sqlalchemy import URL, Engine, create_engine

WINDOWS_DAYS = (1, 7, 30, 90)


def score(url: URL, booster_text: str, tenant_id: str, now: datetime, leads: int) -> None:
    """Score the first `leads` leads of the tenant and write scores, reasons and history."""
    engine = create_engine(url)
    booster = lgb.Booster(model_str=booster_text)
    frame = pd.read_sql(
        "SELECT lead_id, created_at, attributes FROM crm.leads WHERE tenant_id = %(tenant)s"
        " ORDER BY lead_id LIMIT %(leads)s::bigint",
        engine,
        params={"tenant": tenant_id, "leads": str(leads)},
    )
    attributes = pd.json_normalize(frame["attributes"].tolist())
    for name in attributes.select_dtypes("object"):
        attributes[name] = attributes[name].astype("category").cat.codes
    matrix = pd.concat([attributes, _counts(engine, tenant_id, frame, now)], axis=1)
    matrix["age"] = (now - frame["created_at"]).dt.days
    matrix = matrix.iloc[:, : booster.num_feature()].astype(float)
    while matrix.shape[1] < booster.num_feature():
        matrix[f"missing {matrix.shape[1]}"] = float("nan")
    probability = np.asarray(booster.predict(matrix.to_numpy()))
    contributions = np.asarray(booster.predict(matrix.to_numpy(), pred_contrib=True))
    scored = pd.DataFrame(
        {
            "lead_id": frame["lead_id"],
            "score": (probability * 100).round().astype(int),
            "probability": probability,
            "percentile": pd.Series(probability).rank(pct=True) * 100,
            "reasons": [json.dumps(row) for row in contributions.tolist()],
            "calculated_at": now,
        }
    )
    scored.to_sql("plain_scores", engine, if_exists="replace", index=False)
    scored.to_sql("plain_history", engine, if_exists="append", index=False)


def _counts(engine: Engine, tenant_id: str, frame: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Interactions per kind and window, a column each."""
    interactions = pd.read_sql(
        "SELECT lead_id, kind, occurred_at FROM crm.interactions WHERE tenant_id = %(tenant)s"
        " AND lead_id BETWEEN %(first)s AND %(last)s",
        engine,
        params={
            "tenant": tenant_id,
            "first": frame["lead_id"].iloc[0],
            "last": frame["lead_id"].iloc[-1],
        },
    )
    age = (now - interactions["occurred_at"]).dt.days
    parts = [
        interactions[age < days]
        .pivot_table(index="lead_id", columns="kind", values="occurred_at", aggfunc="count")
        .add_suffix(f" in {days} d")
        for days in WINDOWS_DAYS
    ]
    counts: pd.DataFrame = pd.concat(parts, axis=1)
    return counts.reindex(frame["lead_id"]).fillna(0).reset_index(drop=True)
