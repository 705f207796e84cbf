"""Pictures of a model for a person to judge: calibration and importance, as small PNG files."""

from collections.abc import Mapping, Sequence
from datetime import date
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ml.confidence import jeffreys
from ml.metrics import CalibrationPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ml.factor_shapes import Shape

BLUE, GREY = "#0072B2", "#767676"  # told apart by every kind of eye
MOST_FACTORS = 15
LONGEST_NAME = 36
COLOURS = 32


def calibration_plot(points: Sequence[CalibrationPoint]) -> bytes:
    """Observed against predicted conversion rate with 90 % intervals, as PNG."""
    figure, axes = _canvas(5, 5)
    predicted = np.array([point.predicted for point in points])
    observed = np.array([point.observed for point in points])
    low, high = jeffreys(
        np.array([point.converted for point in points]), np.array([point.rows for point in points])
    )
    limit = min(1.0, 1.05 * float(max(high.max(), predicted.max())))
    axes.plot([0, limit], [0, limit], color=GREY, linestyle="--", label="perfectly calibrated")
    axes.vlines(predicted, low, high, color=BLUE, alpha=0.5)
    axes.plot(predicted, observed, "o", color=BLUE, label="hold-out, with 90 % intervals")
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="predicted", ylabel="observed")
    axes.set_title("Conversion rate: predicted and observed", fontsize=11)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda rate, _: f"{rate:.0%}")
    axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def roc_plot(points: Sequence[tuple[float, float]], area: float) -> bytes:
    """Share of the converted against share of the others above falling scores, as PNG."""
    figure, axes = _canvas(5, 5)
    others, converted = zip(*points, strict=True)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="blind")
    axes.plot(others, converted, color=BLUE, label=f"hold-out, AUC {area:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of the others", ylabel="of the converted")
    axes.set_title("Told apart: ROC", fontsize=11)
    axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def gains_plot(gains: Sequence[float]) -> bytes:
    """Share of the converted that the top leads hold, as PNG; gains at equal steps from 0 to 1."""
    figure, axes = _canvas(5, 5)
    top = np.linspace(0, 1, len(gains))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="without scores")
    axes.plot(top, gains, color=BLUE, label="hold-out")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="top leads by score", ylabel="conversions they hold")
    axes.set_title("Lift: whom to call first", fontsize=11)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def importance_plot(importance: Mapping[str, float], unit: str = "log-odds") -> bytes:
    """Mean absolute contribution, in this unit, of the 15 strongest factors, as PNG."""
    strongest = sorted(importance.items(), key=lambda item: item[1])[-MOST_FACTORS:]
    figure, axes = _canvas(6.5, 1.2 + 0.3 * len(strongest))
    rows = range(len(strongest))
    axes.barh(rows, [mean for _, mean in strongest], color=BLUE)
    # A column may be named "US$ or AU$": its name is no formula.
    axes.set_yticks(rows, [_short(name) for name, _ in strongest], parse_math=False)
    axes.set_xlabel(f"mean |contribution| on the hold-out, {unit}")
    axes.set_title("What moves the score", fontsize=11)
    return _png(figure)


def shapes_plot(shapes: "Sequence[Shape]") -> bytes:
    """What each value of some factors, at least one, adds to the log-odds, side by side, as PNG."""
    columns = min(2, len(shapes))
    lines = (len(shapes) + columns - 1) // columns
    figure, axes = _canvas(4.2 * columns, 2.8 * lines)
    axes.remove()
    for position, shape in enumerate(shapes, start=1):
        axes = figure.add_subplot(lines, columns, position)
        axes.spines[["top", "right"]].set_visible(False)
        rows = range(len(shape.values))
        axes.barh(rows, shape.contribution, color=BLUE)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set_yticks(rows, [_short(word) for word in shape.values], parse_math=False, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(_short(shape.factor), fontsize=10, parse_math=False)
    figure.supxlabel("mean contribution, log-odds", fontsize=9)
    return _png(figure)


def weeks_plot(
    weeks: Sequence[date], log_loss: Sequence[float], base_rate: Sequence[float]
) -> bytes:
    """Log-loss of what was served in each week beside that of the base rate, as PNG."""
    figure, axes = _canvas(6.5, 3.5)
    where = range(len(weeks))
    axes.plot(where, base_rate, color=GREY, linestyle="--", label="base rate")
    axes.plot(where, log_loss, "o-", color=BLUE, label="what was served")
    shown = where[:: len(weeks) // 7 + 1]
    axes.set_xticks(shown, [f"{weeks[i]:%d %b %y}" for i in shown], fontsize=8)
    axes.set(xlabel="week of the scores", ylabel="log-loss, lower is better")
    axes.set_title("What came of the scores", fontsize=11)
    axes.legend(frameon=False)
    return _png(figure)


def _canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    # The object API: pyplot would keep every figure of a long-lived process in a global list.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: "Figure") -> bytes:
    from PIL import Image

    drawn, small = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    # A palette takes a third of the bytes; the pictures are stored with every training.
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
