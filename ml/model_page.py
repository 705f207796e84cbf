"""A person's page of a model version: one HTML document without scripts that needs nothing else."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ml import plots
from ml.metrics import CalibrationPoint

# Pixels; a PNG's width stands in its bytes 16 to 20.
_WIDE = 700
# Drawn, and not listed.
_DRAWN = ("calibration", "roc", "gains", "importance")
_WORDS = {
    "own_model": "a model of the tenant's own",
    "prior_model": "few outcomes: learnt cautiously",
    "pooled_model": "not enough evidence of its own: what the activity of other tenants says",
    "base_rate": "not enough evidence: one rate for all",
}
_MEANINGS = {
    "auc": "chance that a converted row has the higher score of a random pair; 0.5 is blind",
    "log_loss": "mean of -ln(probability of what happened); lower is better",
    "brier": "mean squared error of the probability; lower is better",
    "ece": "mean distance between predicted and observed rate",
    "lift10": "rate of the top tenth by score over that of all",
    "window_auc": "mean of the AUC within each window",
    "coverage": "how often what was to happen lay inside the interval that is told",
    "mae": "mean absolute error, in the CRM's currency",
    "median_ape": "median of the error as a share of the amount",
    "r2_log": "share of the variance of the logarithm that is explained",
    "silhouette": "how far segments lie apart, -1 to 1",
    "stability": "how alike the segments of resampled rows are; 1 is the same each time",
    "signal": "p-value of the test whether outcomes have to do with what is known",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}h3{font-size:1rem}"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.2rem .7rem;text-align:left;"
    "border-bottom:1px solid #ddd;vertical-align:top}td{overflow-wrap:anywhere}"
    "img{width:27rem;max-width:100%;margin:.5rem .5rem .5rem 0;vertical-align:top}"
    ".wide{width:52rem}.yes{color:#00663d}.no{color:#a3220b}"
)


@dataclass(frozen=True)
class Facts:
    """What there is to tell of a version; the names are those of warehouse.models.ModelVersion.

    packages: what made it, one name==version a line.
    """

    tenant_id: str
    name: str
    version: int
    stage: str
    outcomes: int
    trained_at: str
    run_id: str
    sha256: str
    metrics: Mapping[str, Any]
    data: Mapping[str, Any]
    configuration: Mapping[str, Any]
    gate: Mapping[str, Any] | None
    packages: str


def pictures(metrics: Mapping[str, Any]) -> dict[str, bytes]:
    """The plots of a report's JSON, file name -> PNG: those that its figures allow."""
    hold_out = metrics.get("hold_out") or metrics
    found: dict[str, bytes] = {}
    if hold_out.get("calibration") and "roc" in hold_out:
        points = [CalibrationPoint(**point) for point in hold_out["calibration"]]
        found["calibration.png"] = plots.calibration_plot(points)
        found["roc.png"] = plots.roc_plot(hold_out["roc"], hold_out["model"]["auc"])
        found["lift.png"] = plots.gains_plot(hold_out["gains"])
    if hold_out.get("importance"):
        # What has no hold-out of probabilities says amounts, as logarithms.
        unit = "log-odds" if metrics.get("hold_out") else "logarithm of the amount"
        found["importance.png"] = plots.importance_plot(hold_out["importance"], unit)
    return found


def render(facts: Facts, drawn: Mapping[str, bytes]) -> str:
    """The page with these plots, file name -> PNG; all that came from the tenant is escaped."""
    title = f"{facts.name} version {facts.version} of {facts.tenant_id}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        *_summary(facts),
        *_gate(facts.gate),
        *_drawn(drawn),
        "<h2>Figures</h2>",
        *_compared(facts.metrics),
        *_anything(facts.metrics),
        "<h2>Where it comes from</h2>",
        _pairs(
            {
                **{f"data: {name}": value for name, value in facts.data.items()},
                "trained at": facts.trained_at,
                "Dagster run": facts.run_id,
                "sha256 of the document that serves": facts.sha256,
                "packages": ", ".join(facts.packages.split()),
            }
        ),
        "<h2>Settings</h2>",
        *_anything(facts.configuration),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        # Whatever a name of a column holds, a browser loads and runs nothing.
        '<meta http-equiv="Content-Security-Policy"'
        " content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _summary(facts: Facts) -> Iterator[str]:
    stage = escape(_WORDS.get(facts.stage, facts.stage)).capitalize()
    yield f"<p>{stage}, from {facts.outcomes:,} rows."
    if facts.metrics.get("lacking"):
        yield f" Lacking: {escape(str(facts.metrics['lacking']))}."
    hold_out = facts.metrics.get("hold_out") or {}
    against = hold_out.get("against_base_rate")
    if against:
        yield (
            f" On outcomes it had not seen its log-loss is {_value(hold_out['model']['log_loss'])},"
            f" that of the base rate {_value(hold_out['base_rate']['log_loss'])}: a difference of"
            f" {against['mean']:+.4f}, with 95 % certainty between {against['low']:+.4f} and"
            f" {against['high']:+.4f}."
        )
    yield "</p>"


def _gate(gate: Mapping[str, Any] | None) -> Iterator[str]:
    yield "<h2>What was asked of it before it might serve</h2>"
    if gate is None:
        yield "<p>Nothing yet.</p>"
        return
    yield "<table>"
    for check in gate["checks"]:
        word, kind = ("passed", "yes") if check["passed"] else ("not passed", "no")
        yield (
            f"<tr><td>{escape(_words(check['name']))}</td><td class={kind}>{word}</td>"
            f"<td>{escape(check['sentence'])}</td></tr>"
        )
    yield "</table>"


def _drawn(drawn: Mapping[str, bytes]) -> Iterator[str]:
    for name, png in drawn.items():
        encoded = base64.b64encode(png).decode()
        alt = escape(_words(name.removesuffix(".png")), quote=True)
        wide = " class=wide" if int.from_bytes(png[16:20]) > _WIDE else ""
        yield f'<img alt="{alt}"{wide} src="data:image/png;base64,{encoded}">'


def _compared(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The hold-out's figures of the model beside the base rate's and the candidates'."""
    hold_out = metrics.get("hold_out")
    if not hold_out:
        return
    candidates = hold_out.get("candidates", {}).items()
    rows = {"this model": hold_out["model"], "base rate": hold_out["base_rate"]}
    rows |= {f"candidate {name}": one["figures"] for name, one in candidates}
    yield _grid([{"": name, **figures} for name, figures in rows.items()])
    yield "<ul>"
    for name in hold_out["model"]:
        if name in _MEANINGS:
            yield f"<li>{escape(_words(name))}: {escape(_MEANINGS[name])}</li>"
    yield "</ul>"


def _anything(found: Mapping[str, Any], level: int = 3) -> Iterator[str]:
    """What a report holds, whatever it is: its single values, then what is nested, each with its
    name above."""
    single = {
        name: value
        for name, value in found.items()
        if not _nested(value)
        and value is not None
        and (name not in _DRAWN or isinstance(value, str))
    }
    if single:
        yield _pairs(single)
    for name, value in found.items():
        if not value or name in _DRAWN or not _nested(value):
            continue
        yield f"<h{level}>{escape(_words(name))}</h{level}>"
        if isinstance(value, Mapping):
            # Of one kind, such as candidates: side by side.
            alike = [one for one in value.values() if isinstance(one, Mapping)]
            if len(alike) == len(value) > 1:
                yield _grid([{"": key, **_flat(one)} for key, one in value.items()])
            else:
                yield from _anything(value, min(level + 1, 6))
        else:
            yield _grid([_flat(one) for one in value])


def _nested(value: object) -> bool:
    rows = isinstance(value, Sequence) and bool(value) and isinstance(value[0], Mapping)
    return rows or isinstance(value, Mapping)


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Mapping):
            flat |= {f"{name} {inner}": one for inner, one in _flat(value).items()}
        else:
            flat[name] = value
    return flat


def _pairs(found: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{escape(_words(name))}</th><td>{_value(value)}</td>"
        f"<td>{escape(_MEANINGS.get(name, ''))}</td></tr>"
        for name, value in found.items()
    )
    return f"<table>{rows}</table>"


def _grid(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(_words(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_value(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_value(one) for one in value) or "none"
    return escape(str(value))
