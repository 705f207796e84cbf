"""What the data checks add to an import: the bank's leads, once and repeated to 200,000 rows."""

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import polars as pl

from benchmarks.reporting import arguments, report, told
from examples import bank
from warehouse import tenants
from warehouse.database import Database
from warehouse.embedded import EmbeddedPostgres
from warehouse.migrate import migrate

_ROWS = (41_188, 200_000)
# In a process of its own, as the command imports: loading Great Expectations is part of the price.
# Without: every file is taken for one too small to be judged.
_IMPORT = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from warehouse.database import Database
from warehouse.imports import import_file
from warehouse.imports.mapping import parse_mapping
from warehouse.loads import files
url, tenant_id, path, checked = sys.argv[1:]
if checked == "without":
    files.LEAST_ROWS = sys.maxsize
fields = {"id": "id", "created_at": "created", "converted_at": "won", "closed_at": "lost"}
mapping = parse_mapping({"table": "leads", **fields}, "mapping")
began, cpu = time.perf_counter(), time.process_time()
import_file(Database(url), tenant_id, Path(path), mapping, now=datetime.now(UTC))
print(time.perf_counter() - began, time.process_time() - cpu)
"""


def leads(rows: int) -> pl.DataFrame:
    """The bank's leads as a file has them; repeated, each copy a second later."""
    found = bank.leads()
    attributes = found["attributes"].str.json_decode(infer_schema_length=None).struct.unnest()
    times = {"created": "created_at", "won": "converted_at", "lost": "closed_at"}
    wide = found.select("lead_id", **times).hstack(attributes)
    copies = [
        wide.with_columns(
            pl.col(*times) + timedelta(seconds=copy), id=pl.format("{}-{}", pl.lit(copy), "lead_id")
        ).drop("lead_id")
        for copy in range(-(-rows // len(wide)))
    ]
    return pl.concat(copies).head(rows)


def main() -> None:
    given = arguments(__doc__)
    table, figures = [], {}
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "server")
        server.start()
        try:
            migrate(server.urls.owner)
            database = Database(server.urls.app)
            for rows in _ROWS[:1] if given.quick else _ROWS:
                path = Path(folder) / "leads.csv"
                leads(rows).write_csv(path)
                spent = {}
                for checked in ("without", "with"):
                    tenant_id = f"{checked}-{rows}"
                    tenants.add(database, tenant_id)
                    with told(f"{rows:,} rows, {checked} checks"):
                        spent[checked] = _import(server.urls.app, tenant_id, path, checked)
                    wall, cpu = spent[checked]
                    table.append((f"{rows:,} rows, {checked}", f"{wall:.1f}", f"{cpu:.1f}"))
                figures[f"over_import_{rows}"] = spent["with"][0] / spent["without"][0]
            database.close()
        finally:
            server.stop()
    report(
        "A first import, with and without data checks", ("", "s", "CPU s"), table, figures, given
    )


def _import(url: str, tenant_id: str, path: Path, checked: str) -> tuple[float, float]:
    """Seconds and CPU seconds of an import."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, url, tenant_id, str(path), checked],
        check=True,
        capture_output=True,
        text=True,
    )
    wall, cpu = done.stdout.split()
    return float(wall), float(cpu)


if __name__ == "__main__":
    main()
