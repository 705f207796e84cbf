"""Files a CRM exports, as its records: read, mapped to fields, checked row by row, written."""

from warehouse.imports.loading import ImportReport, import_file
from warehouse.imports.mapping import Mapping, load_mapping
from warehouse.imports.proposing import Proposal, propose_mapping
from warehouse.imports.reading import Source, read_table

__all__ = [
    "ImportReport",
    "Mapping",
    "Proposal",
    "Source",
    "import_file",
    "load_mapping",
    "propose_mapping",
    "read_table",
]
