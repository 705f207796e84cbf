"""A CRM database read whole, and the published records, as loads: read where they stand."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from warehouse.database import Database, literal
from warehouse.loads import stored
from warehouse.loads.figures import Facts
from warehouse.loads.publishing import Load, judged, one_at_a_time, publish
from warehouse.loads.verdicts import RECORDS, Verdict, keep

# What features are made of.
PUBLISHED = ("leads", "interactions")


def check_source(
    connection: Connection,
    tenant_id: str,
    source_id: str,
    tables: Sequence[tuple[str, str, frozenset[str]]],
    now: datetime,
) -> None:
    """Judge what was read of each table, in the transaction that wrote it, and keep the verdicts.

    tables: of each its name in the source, the table of its records, and a Load's left_out.
    Raises LoadBlockedError.
    """
    said = []
    for name, table, left_out in tables:
        ids = (
            "SELECT record_id FROM crm.source_keys WHERE"
            f" tenant_id = {literal(tenant_id)} AND source_id = {literal(source_id)}"
            f" AND source_table = {literal(name)} AND record_id IS NOT NULL"
        )
        source = f"{source_id}/{name}"
        one_at_a_time(connection, tenant_id, source, table)
        rows, set_aside = stored.rows_read(connection, tenant_id, source_id, name)
        records = stored.records(connection, tenant_id, table, ids)
        twins = stored.twins(connection, tenant_id, table, ids)
        facts = Facts(whole=True, read=rows, set_aside=set_aside)
        load = Load(source, table, records, facts, twins, left_out)
        said.append(judged(connection, tenant_id, load, now))
    publish(
        connection,
        tenant_id,
        [verdict for verdict in said if verdict is not None],
        "The records are as they were; it is tried again by itself. Mend the CRM, or let it pass"
        f" with `galena accept {tenant_id} {source_id}`.",
    )


def check_records(database: Database, tenant_id: str, now: datetime) -> list[Verdict]:
    """Judge the published records, as one reading of all there is, and keep the verdicts."""
    verdicts = []
    for table in PUBLISHED:
        with database.tenant(tenant_id) as connection:
            one_at_a_time(connection, tenant_id, RECORDS, table)
            records = stored.records(connection, tenant_id, table)
            twins = stored.twins(connection, tenant_id, table)
            load = Load(RECORDS, table, records, Facts(whole=True, read=records.rows), twins)
            verdict = judged(connection, tenant_id, load, now)
            if verdict is not None:
                keep(connection, tenant_id, verdict)
                verdicts.append(verdict)
    return verdicts
