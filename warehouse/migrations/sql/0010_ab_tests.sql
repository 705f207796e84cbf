-- A/B tests of scoring models.

-- At most one test of a tenant is open. test_id: counts from 1 for each tenant. share: of leads that
-- the challenger serves, 0 in shadow mode. horizon_days: that both models speak of. ends_at: where it
-- is not decided by then, the champion stays. verdict: in words. result: what the last look found.
CREATE TABLE ml.ab_tests (
  tenant_id TEXT NOT NULL,
  test_id INTEGER NOT NULL,
  champion INTEGER NOT NULL,
  challenger INTEGER NOT NULL,
  mode TEXT NOT NULL,
  share DOUBLE PRECISION NOT NULL,
  horizon_days INTEGER NOT NULL,
  status TEXT DEFAULT 'open' NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE NOT NULL,
  started_by TEXT NOT NULL,
  ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE,
  verdict TEXT DEFAULT '' NOT NULL,
  result JSONB DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT ab_tests_pkey PRIMARY KEY (tenant_id, test_id),
  CONSTRAINT ab_tests_status_check CHECK (status in
    ('open', 'promoted', 'awaiting_approval', 'dropped', 'undecided', 'overtaken', 'stopped')),
  CONSTRAINT ab_tests_mode_check CHECK (mode in ('split', 'shadow')),
  CONSTRAINT ab_tests_share_check CHECK (share between 0 and 1 and (share > 0) = (mode = 'split'))
);

CREATE UNIQUE INDEX ab_tests_open_idx ON ml.ab_tests (tenant_id) WHERE ended_at IS NULL;

-- What both models said of a lead at its first scoring in the test, and which of them was served.
CREATE TABLE ml.ab_scores (
  tenant_id TEXT NOT NULL,
  test_id INTEGER NOT NULL,
  lead_id TEXT NOT NULL,
  scored_at TIMESTAMP WITH TIME ZONE NOT NULL,
  champion DOUBLE PRECISION NOT NULL,
  challenger DOUBLE PRECISION NOT NULL,
  challenger_served BOOLEAN NOT NULL,
  CONSTRAINT ab_scores_pkey PRIMARY KEY (tenant_id, test_id, lead_id),
  CONSTRAINT ab_scores_tenant_id_test_id_fkey FOREIGN KEY (tenant_id, test_id)
    REFERENCES ml.ab_tests (tenant_id, test_id) ON DELETE CASCADE
);

DO $$
DECLARE
  tenant_table regclass;
BEGIN
  FOREACH tenant_table IN ARRAY ARRAY['ml.ab_tests', 'ml.ab_scores']::regclass[]
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO galena_app '
                   'USING (tenant_id = (SELECT crm.current_tenant()))', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO galena_app', tenant_table);
  END LOOP;
END $$;

-- To judge the open tests of all tenants.
CREATE POLICY operator ON ml.ab_tests FOR SELECT TO galena_operator USING (true);
GRANT SELECT (tenant_id, ended_at) ON ml.ab_tests TO galena_operator;
