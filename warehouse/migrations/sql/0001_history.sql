-- What changes over time: the leads' attributes as they were known, the scores as they were served.

-- CRM rows are overwritten; training needs them as they stood. Statement-level, so that a bulk load
-- costs one statement. A change that does not say when it became known, or says that it was known
-- before the row that it overwrites, became known now.
CREATE FUNCTION crm.keep_attributes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO crm.attribute_history (tenant_id, lead_id, known_at, valid_at, attributes)
    SELECT tenant_id, lead_id, known_at, least(created_at, known_at), attributes FROM written
    ON CONFLICT (tenant_id, lead_id, known_at) DO UPDATE SET attributes = EXCLUDED.attributes;
  ELSE
    INSERT INTO crm.attribute_history (tenant_id, lead_id, known_at, valid_at, attributes)
    SELECT w.tenant_id, w.lead_id, t.at, t.at, w.attributes
    FROM written w
    JOIN overwritten o USING (tenant_id, lead_id)
    CROSS JOIN LATERAL (
      SELECT CASE WHEN w.known_at <= o.known_at THEN now() ELSE w.known_at END AS at
    ) t
    WHERE w.attributes <> o.attributes
    ON CONFLICT (tenant_id, lead_id, known_at) DO UPDATE SET attributes = EXCLUDED.attributes;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER keep_inserted_attributes AFTER INSERT ON crm.leads
  REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION crm.keep_attributes();
CREATE TRIGGER keep_updated_attributes AFTER UPDATE ON crm.leads
  REFERENCING OLD TABLE AS overwritten NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION crm.keep_attributes();

-- The application owns nothing and so cannot create partitions; this does it for one month. The
-- partition itself has no policy and no grant: it is reached through its parent or not at all.
CREATE FUNCTION ml.ensure_history_partition(calculated_at timestamptz) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  SET timezone = 'UTC' AS $$
DECLARE
  first_day timestamptz := date_trunc('month', calculated_at);
  partition text := 'lead_score_history_' || to_char(first_day, 'YYYY_MM');
BEGIN
  IF to_regclass('ml.' || partition) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('ml.ensure_history_partition'));
  IF to_regclass('ml.' || partition) IS NULL THEN
    -- Attached, not created as a partition, which would keep readers out until the commit.
    EXECUTE format('CREATE TABLE ml.%I (LIKE ml.lead_score_history INCLUDING ALL)', partition);
    EXECUTE format('ALTER TABLE ml.%I ENABLE ROW LEVEL SECURITY', partition);
    EXECUTE format('ALTER TABLE ml.%I FORCE ROW LEVEL SECURITY', partition);
    EXECUTE format('ALTER TABLE ml.lead_score_history ATTACH PARTITION ml.%I'
                   ' FOR VALUES FROM (%L) TO (%L)',
                   partition, first_day, first_day + interval '1 month');
  END IF;
END $$;
REVOKE EXECUTE ON FUNCTION ml.ensure_history_partition(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ml.ensure_history_partition(timestamptz) TO galena_app;
