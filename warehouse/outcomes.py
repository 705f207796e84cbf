"""How far what became of a tenant's leads is known."""

from datetime import datetime

from sqlalchemy import Connection, text

from warehouse.crm import READABLE


def known_until(connection: Connection, tenant_id: str, now: datetime) -> datetime:
    """Up to when the outcomes of the tenant's leads are known, now at the latest; 1970 where none
    is. A horizon that ends later says nothing: who has not converted may have, unheard of.

    Where live sources give leads: when the one that was read longest ago was read. Else when the
    newest lead converted or was closed, as training has it: when a file was imported does not say
    when it was written.
    """
    found: datetime = connection.scalar(_UNTIL, {"tenant_id": tenant_id, "now": now})
    return found


# An outcome that is dated ahead, such as a closing that somebody expects, is no news.
_UNTIL = text(
    "SELECT coalesce((SELECT least(min(read_at), :now) FROM crm.sources"
    "  WHERE tenant_id = :tenant_id AND read_at IS NOT NULL"
    "  AND jsonb_path_exists(mapping, '$.tables.*.table ? (@ == \"leads\")')"
    "  HAVING count(*) > 0),"
    " (SELECT greatest(max(converted_at) FILTER (WHERE converted_at <= :now),"
    "   max(closed_at) FILTER (WHERE closed_at <= :now))"
    f"  FROM crm.leads WHERE tenant_id = :tenant_id AND {READABLE}),"
    " 'epoch')"
)
