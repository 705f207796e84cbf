"""When leads' attributes were written, before their outcome or not: what crm.attribute_history says
to the leakage audit (ml.leakage)."""

from sqlalchemy import Connection, text

from ml.leakage import Writes, WrittenAfter


def written_after(connection: Connection, tenant_id: str) -> dict[str, WrittenAfter]:
    """By attribute, how many leads had it written before their outcome, and with it or after.

    A lead's first version is no writing. An import gives old leads all their fields at once, most
    often dated by their creation; it shows neither when a field was filled in, nor in what order.
    A writing is the first later version in which the attribute differs: filled, changed or emptied.
    A lead counts if its first version was known before its outcome, or it has no outcome yet; the
    others had theirs written when the end was known already. An open lead's writings come before.

    Attributes that no lead had written are left out. converted are leads that converted; others
    those that were closed without, and those still open.
    """
    rows = connection.execute(_WRITES, {"tenant_id": tenant_id})
    return {
        row.attribute: WrittenAfter(
            Writes(row.converted, row.converted_before, row.converted_after),
            Writes(row.others, row.others_before, row.others_after),
        )
        for row in rows
    }


# A version is compared with the one before it; only leads with two or more have any such.
_WRITES = text(
    """
    WITH versions AS (
      SELECT lead_id, known_at, attributes,
        lag(attributes) OVER lead AS overwritten,
        row_number() OVER lead AS number
      FROM crm.attribute_history
      WHERE tenant_id = :tenant_id
      WINDOW lead AS (PARTITION BY lead_id ORDER BY known_at)
    ), leads AS (
      SELECT l.lead_id, l.converted_at IS NOT NULL AS converted,
        coalesce(l.converted_at, l.closed_at, 'infinity') AS ended_at
      FROM crm.leads l
      JOIN versions v ON v.lead_id = l.lead_id AND v.number = 1
      WHERE l.tenant_id = :tenant_id
        AND v.known_at < coalesce(l.converted_at, l.closed_at, 'infinity')
    ), totals AS (
      SELECT count(*) FILTER (WHERE converted) AS converted,
        count(*) FILTER (WHERE NOT converted) AS others
      FROM leads
    ), writings AS (
      SELECT v.lead_id, a.attribute, min(v.known_at) AS at
      FROM versions v
      CROSS JOIN LATERAL jsonb_object_keys(
        CASE WHEN jsonb_typeof(v.overwritten || v.attributes) = 'object'
          THEN v.overwritten || v.attributes END
      ) AS a (attribute)
      WHERE v.number > 1
        AND nullif(v.attributes ->> a.attribute, '')
          IS DISTINCT FROM nullif(v.overwritten ->> a.attribute, '')
      GROUP BY v.lead_id, a.attribute
    )
    SELECT w.attribute, t.converted, t.others,
      count(*) FILTER (WHERE l.converted AND w.at < l.ended_at) AS converted_before,
      count(*) FILTER (WHERE l.converted AND w.at >= l.ended_at) AS converted_after,
      count(*) FILTER (WHERE NOT l.converted AND w.at < l.ended_at) AS others_before,
      count(*) FILTER (WHERE NOT l.converted AND w.at >= l.ended_at) AS others_after
    FROM writings w
    JOIN leads l USING (lead_id)
    CROSS JOIN totals t
    GROUP BY w.attribute, t.converted, t.others
    ORDER BY w.attribute
    """
)
