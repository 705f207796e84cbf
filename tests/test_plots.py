import subprocess
import sys
from datetime import date

import pytest

from ml import plots
from ml.factor_shapes import Shape
from ml.metrics import CalibrationPoint

PNG = b"\x89PNG\r\n\x1a\n"


# Names that leave no room for the bars make matplotlib warn, as does a name read as a formula.
@pytest.mark.filterwarnings("error")
def test_pictures_are_small_png_files_for_any_names_and_rates() -> None:
    names = [f"{i} US$ ^^ or AU$ {'and so on ' * 30}" for i in range(40)]
    importance = plots.importance_plot({name: i / 40 for i, name in enumerate(names)})
    points = [CalibrationPoint(i / 15, i / 16, 300, 18 * i) for i in range(15)]
    for image in (
        importance,
        plots.importance_plot({"only": 0.0}),
        plots.calibration_plot(points),
        plots.calibration_plot([CalibrationPoint(0.001, 0.0, 4, 0)]),
        plots.roc_plot([(i / 100, (i / 100) ** 0.3) for i in range(101)], 0.77),
        plots.roc_plot([(0.0, 0.0), (1.0, 1.0)], 0.5),
        plots.gains_plot([(i / 20) ** 0.5 for i in range(21)]),
        plots.weeks_plot([date(2026, 1, 5)] * 26, [0.25] * 26, [0.3] * 26),
        plots.weeks_plot([date(2026, 1, 5)], [0.25], [0.3]),
        plots.shapes_plot(
            [Shape(name, (name, "missing"), (0.5, -1.0), (9, 1)) for name in names[:5]]
        ),
        plots.shapes_plot([Shape("only", ("1 to 2",), (0.0,), (10,))]),
    ):
        assert image.startswith(PNG)
        assert 2_000 < len(image) < 40_000


def test_long_names_that_begin_alike_stay_apart() -> None:
    alike = {f"{'the same beginning of every name ' * 2}{i}": 1.0 for i in range(2)}
    tall = plots.importance_plot({**alike, "b": 1.0})
    assert len(tall) > len(plots.importance_plot({"b": 1.0}))


def test_no_state_of_pyplot_is_touched() -> None:
    code = (
        "import sys; from ml.plots import importance_plot; importance_plot({'a': 1.0}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"
