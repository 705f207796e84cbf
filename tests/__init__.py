"""What holds for every test, before anything of Galena is imported."""

import os

# pytest-xdist sets it for its workers, and a console keeps the width that it finds when it is made.
os.environ.pop("COLUMNS", None)
