-- External CRM databases: which there are, how far each has been read, and what came from them.

-- url_variable: the name of the environment variable with the URL, which itself is stored nowhere.
-- slot_name: of the replication slot and the publication there. load_wanted: why all of it has to be
-- read anew. confirmed_lsn, watermarks: up to where it has been read, from its log or by polling.
CREATE TABLE crm.sources (
  tenant_id TEXT NOT NULL,
  source_id TEXT NOT NULL,
  url_variable TEXT NOT NULL,
  mapping JSONB NOT NULL,
  slot_name TEXT NOT NULL,
  added_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  load_wanted TEXT,
  loaded_at TIMESTAMP WITH TIME ZONE,
  read_at TIMESTAMP WITH TIME ZONE,
  confirmed_lsn TEXT,
  watermarks JSONB DEFAULT '{}'::jsonb NOT NULL,
  lag_bytes BIGINT,
  failures INTEGER DEFAULT '0' NOT NULL,
  retry_at TIMESTAMP WITH TIME ZONE,
  error TEXT,
  CONSTRAINT sources_pkey PRIMARY KEY (tenant_id, source_id),
  CONSTRAINT sources_slug_check CHECK (source_id ~ '^[a-z0-9][a-z0-9-]{1,62}$')
);

-- One row per row that was read there: its key, a digest of its content, and the record that it
-- became (NULL: none, it was set aside before it was any).
CREATE TABLE crm.source_keys (
  tenant_id TEXT NOT NULL,
  source_id TEXT NOT NULL,
  source_table TEXT NOT NULL,
  key TEXT NOT NULL,
  digest TEXT NOT NULL,
  record_table TEXT NOT NULL,
  record_id TEXT,
  rejected BOOLEAN NOT NULL,
  CONSTRAINT source_keys_pkey PRIMARY KEY (tenant_id, source_id, source_table, key)
);

-- Whether another row stands for a record, before the record is deleted.
CREATE INDEX source_keys_tenant_id_record_table_record_id_idx
  ON crm.source_keys (tenant_id, record_table, record_id);

DO $$
DECLARE
  tenant_table regclass;
BEGIN
  FOREACH tenant_table IN ARRAY ARRAY['crm.sources', 'crm.source_keys']::regclass[]
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO galena_app '
                   'USING (tenant_id = (SELECT crm.current_tenant()))', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO galena_app', tenant_table);
  END LOOP;
END $$;

-- To choose whose turn it is.
CREATE POLICY operator ON crm.sources FOR SELECT TO galena_operator USING (true);
GRANT SELECT (tenant_id, source_id) ON crm.sources TO galena_operator;
