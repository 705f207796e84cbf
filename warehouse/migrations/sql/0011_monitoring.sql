-- What came of the scores that were served, week by week, and the page of each model.

-- Of the scores that a version served in a week and whose horizon has ended, the first of each lead.
-- auc, lift10: NULL where outcomes of one kind alone are there.
CREATE TABLE ml.score_quality (
  tenant_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  week_start DATE NOT NULL,
  rows INTEGER NOT NULL,
  converted INTEGER NOT NULL,
  log_loss DOUBLE PRECISION NOT NULL,
  base_rate_log_loss DOUBLE PRECISION NOT NULL,
  brier DOUBLE PRECISION NOT NULL,
  predicted DOUBLE PRECISION NOT NULL,
  observed DOUBLE PRECISION NOT NULL,
  ece DOUBLE PRECISION NOT NULL,
  auc DOUBLE PRECISION,
  lift10 DOUBLE PRECISION,
  measured_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT score_quality_pkey PRIMARY KEY (tenant_id, version, week_start),
  CONSTRAINT score_quality_tenant_id_version_fkey FOREIGN KEY (tenant_id, version)
    REFERENCES ml.models (tenant_id, version) ON DELETE CASCADE
);

-- A look at a tenant's scores. version: the champion that it judged. figures: its verdicts.
-- action: nothing, retraining or rollback.
CREATE TABLE ml.model_looks (
  tenant_id TEXT NOT NULL,
  looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
  version INTEGER NOT NULL,
  action TEXT NOT NULL,
  sentence TEXT NOT NULL,
  figures JSONB NOT NULL,
  CONSTRAINT model_looks_pkey PRIMARY KEY (tenant_id, looked_at),
  CONSTRAINT model_looks_action_check CHECK (action in ('nothing', 'retraining', 'rollback')),
  CONSTRAINT model_looks_tenant_id_version_fkey FOREIGN KEY (tenant_id, version)
    REFERENCES ml.models (tenant_id, version) ON DELETE CASCADE
);

-- How far the newest inputs of the champion, and its scores ("score"), were from its training.
CREATE TABLE ml.input_drift (
  tenant_id TEXT NOT NULL,
  looked_at TIMESTAMP WITH TIME ZONE NOT NULL,
  feature TEXT NOT NULL,
  psi DOUBLE PRECISION NOT NULL,
  p_value DOUBLE PRECISION NOT NULL,
  alarm BOOLEAN NOT NULL,
  CONSTRAINT input_drift_pkey PRIMARY KEY (tenant_id, looked_at, feature),
  CONSTRAINT input_drift_tenant_id_looked_at_fkey FOREIGN KEY (tenant_id, looked_at)
    REFERENCES ml.model_looks (tenant_id, looked_at) ON DELETE CASCADE
);

-- A person's page of a version: one HTML document that needs nothing else.
CREATE TABLE ml.model_pages (
  tenant_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  html TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  made_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT model_pages_pkey PRIMARY KEY (tenant_id, version),
  CONSTRAINT model_pages_tenant_id_version_fkey FOREIGN KEY (tenant_id, version)
    REFERENCES ml.models (tenant_id, version) ON DELETE CASCADE
);

DO $$
DECLARE
  tenant_table regclass;
BEGIN
  FOREACH tenant_table IN ARRAY
    ARRAY['ml.score_quality', 'ml.model_looks', 'ml.input_drift', 'ml.model_pages']::regclass[]
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO galena_app '
                   'USING (tenant_id = (SELECT crm.current_tenant()))', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO galena_app', tenant_table);
  END LOOP;
END $$;

-- To see whose scores have matured since somebody looked: times, and no figure.
CREATE POLICY operator ON ml.model_looks FOR SELECT TO galena_operator USING (true);
GRANT SELECT (tenant_id, looked_at) ON ml.model_looks TO galena_operator;

CREATE POLICY reader ON ml.score_quality FOR SELECT TO galena_reader
  USING (tenant_id = (SELECT crm.reader_tenant()));
GRANT SELECT ON ml.score_quality TO galena_reader;

CREATE VIEW serving.score_quality_v1 WITH (security_invoker = true) AS
SELECT
  q.tenant_id, q.version, q.week_start, q.rows, q.converted, q.log_loss, q.base_rate_log_loss,
  q.brier, q.predicted, q.observed, q.ece, q.auc, q.lift10, q.measured_at
FROM ml.score_quality q;

GRANT SELECT ON serving.score_quality_v1 TO galena_app, galena_reader;

COMMENT ON VIEW serving.score_quality_v1 IS
  'What came of the scores that were served: one row per model version and week, once the horizon of'
  ' its scores has ended. Of each lead the first score of the week counts.';
COMMENT ON COLUMN serving.score_quality_v1.tenant_id IS 'The tenant whose scores they are.';
COMMENT ON COLUMN serving.score_quality_v1.version IS 'The model version that made them.';
COMMENT ON COLUMN serving.score_quality_v1.week_start IS
  'The Monday, in UTC, of the week in which they were served.';
COMMENT ON COLUMN serving.score_quality_v1.rows IS
  'Scores of the week whose horizon had ended when they were measured.';
COMMENT ON COLUMN serving.score_quality_v1.converted IS
  'How many of them were of leads that converted within the horizon.';
COMMENT ON COLUMN serving.score_quality_v1.log_loss IS
  'Mean of -ln(probability of what happened); lower is better.';
COMMENT ON COLUMN serving.score_quality_v1.base_rate_log_loss IS
  'The same of the conversion rate that was known when the version was trained.';
COMMENT ON COLUMN serving.score_quality_v1.brier IS
  'Mean squared error of the probability; lower is better.';
COMMENT ON COLUMN serving.score_quality_v1.predicted IS 'Mean probability.';
COMMENT ON COLUMN serving.score_quality_v1.observed IS 'Conversion rate.';
COMMENT ON COLUMN serving.score_quality_v1.ece IS
  'Mean distance between predicted and observed rate over 15 bins of equal mass.';
COMMENT ON COLUMN serving.score_quality_v1.auc IS
  'Chance that a converted lead had the higher score of a random pair; NULL where all or none'
  ' converted.';
COMMENT ON COLUMN serving.score_quality_v1.lift10 IS
  'Conversion rate of the top tenth over that of all; NULL where all or none converted.';
COMMENT ON COLUMN serving.score_quality_v1.measured_at IS 'When these figures were calculated.';
