-- The life of a model: its name, what it learnt from, its gate, approval and deployment.

-- name: what the model is for; versions are counted over all of a tenant's models. data: the snapshot
-- that it learnt from (rows, sha256, as_of). gate: what was asked of it after its training, and the
-- answers; NULL where nothing was. Its status follows from the times: see ml.model_status.
ALTER TABLE ml.models
  ADD COLUMN name TEXT DEFAULT 'lead_model' NOT NULL,
  ADD COLUMN description TEXT DEFAULT '' NOT NULL,
  ADD COLUMN data JSONB DEFAULT '{}'::jsonb NOT NULL,
  ADD COLUMN configuration JSONB DEFAULT '{}'::jsonb NOT NULL,
  ADD COLUMN gate JSONB,
  ADD COLUMN registered_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  ADD COLUMN approval_asked_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN approved_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN approved_by TEXT,
  ADD COLUMN deployed_at TIMESTAMP WITH TIME ZONE,
  ADD COLUMN retired_at TIMESTAMP WITH TIME ZONE,
  ADD CONSTRAINT models_name_check
    CHECK (name in ('lead_model', 'customer_churn', 'deal_value', 'customer_segments')),
  ADD CONSTRAINT models_tenant_id_name_version_key UNIQUE (tenant_id, name, version);

-- A forced policy binds the owner too, who has no tenant: the updates would find no row.
ALTER TABLE ml.models NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.model_aliases NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.audit_log NO FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.feature_sets NO FORCE ROW LEVEL SECURITY;

-- What serves has served since its alias was set; of what served before only the audit log knows.
UPDATE ml.models m SET deployed_at = coalesce(
  (SELECT max(a.at) FROM ml.audit_log a WHERE a.tenant_id = m.tenant_id
    AND a.action = 'model.champion' AND a.details ->> 'version' = m.version::text),
  (SELECT s.set_at FROM ml.model_aliases s WHERE s.tenant_id = m.tenant_id
    AND s.version = m.version AND s.alias = 'champion'));
UPDATE ml.models m SET data = jsonb_build_object(
    'feature_set', f.feature_set, 'rows', f.rows, 'sha256', f.sha256, 'as_of', f.as_of)
  FROM ml.feature_sets f WHERE f.tenant_id = m.tenant_id AND f.feature_set = m.feature_set;

ALTER TABLE ml.models FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.model_aliases FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.audit_log FORCE ROW LEVEL SECURITY;
ALTER TABLE ml.feature_sets FORCE ROW LEVEL SECURITY;

-- An alias is of a name, and names a version of that name.
ALTER TABLE ml.model_aliases
  ADD COLUMN name TEXT DEFAULT 'lead_model' NOT NULL,
  DROP CONSTRAINT model_aliases_pkey,
  DROP CONSTRAINT model_aliases_tenant_id_version_fkey,
  ADD CONSTRAINT model_aliases_pkey PRIMARY KEY (tenant_id, name, alias),
  ADD CONSTRAINT model_aliases_tenant_id_name_version_fkey FOREIGN KEY (tenant_id, name, version)
    REFERENCES ml.models (tenant_id, name, version);

-- retired: will not serve again. deployed: the champion. challenger: in a test. deprecated: served
-- before. awaiting_approval: a person has to decide. rejected: the gate has not let it pass.
-- registered: none of these.
CREATE FUNCTION ml.model_status(
  alias text, gate jsonb, approval_asked_at timestamptz, approved_at timestamptz,
  deployed_at timestamptz, retired_at timestamptz
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN CASE
    WHEN retired_at IS NOT NULL THEN 'retired'
    WHEN alias = 'champion' THEN 'deployed'
    WHEN alias = 'challenger' THEN 'challenger'
    WHEN deployed_at IS NOT NULL THEN 'deprecated'
    WHEN approved_at IS NOT NULL THEN 'approved'
    WHEN approval_asked_at IS NOT NULL THEN 'awaiting_approval'
    WHEN NOT (gate ->> 'passed')::boolean THEN 'rejected'
    ELSE 'registered' END;

-- As before, of lead models alone.
CREATE OR REPLACE VIEW serving.lead_models_v1 WITH (security_invoker = true) AS
SELECT
  m.tenant_id, m.version, m.stage, m.outcomes, m.horizon_days, m.metrics, m.feature_set, m.sha256,
  m.run_id, m.mlflow_run_id, m.trained_at
FROM ml.models m WHERE m.name = 'lead_model';

CREATE VIEW serving.models_v1 WITH (security_invoker = true) AS
SELECT
  m.tenant_id, m.version, m.name, m.description,
  ml.model_status(a.alias, m.gate, m.approval_asked_at, m.approved_at, m.deployed_at, m.retired_at)
    AS status,
  m.stage, m.outcomes, m.metrics, m.data, m.configuration, m.gate, m.sha256, m.run_id,
  m.trained_at, m.registered_at, m.approved_at, m.approved_by, m.deployed_at, m.retired_at
FROM ml.models m
LEFT JOIN LATERAL (SELECT max(alias) AS alias FROM ml.model_aliases s
  WHERE s.tenant_id = m.tenant_id AND s.name = m.name AND s.version = m.version) a ON true;

GRANT SELECT ON serving.models_v1 TO galena_app, galena_reader;

COMMENT ON VIEW serving.models_v1 IS
  'Every version of every model of the tenant, with what became of it. One row per version.';
COMMENT ON COLUMN serving.models_v1.tenant_id IS 'The tenant whose model it is.';
COMMENT ON COLUMN serving.models_v1.version IS
  'Counts from 1 for each tenant, over all of its models.';
COMMENT ON COLUMN serving.models_v1.name IS
  'lead_model, customer_churn, deal_value or customer_segments.';
COMMENT ON COLUMN serving.models_v1.description IS 'What a person has noted of it.';
COMMENT ON COLUMN serving.models_v1.status IS
  'registered, rejected (by its gate), awaiting_approval, approved, deployed (it serves), challenger'
  ' (in a test), deprecated (it served before) or retired (it will not serve again).';
COMMENT ON COLUMN serving.models_v1.stage IS
  'own_model; while outcomes are few prior_model, pooled_model or base_rate.';
COMMENT ON COLUMN serving.models_v1.outcomes IS 'Rows with a known outcome that it learnt from.';
COMMENT ON COLUMN serving.models_v1.metrics IS
  'How it was made, and its figures on what it had not seen.';
COMMENT ON COLUMN serving.models_v1.data IS
  'The data snapshot: rows, sha256, as_of, and feature_set where there is one.';
COMMENT ON COLUMN serving.models_v1.configuration IS 'The tenant''s settings that it was trained by.';
COMMENT ON COLUMN serving.models_v1.gate IS
  'passed, and checks: what was asked of it before it might serve, each with its answer in words.';
COMMENT ON COLUMN serving.models_v1.sha256 IS 'Digest of the document that serves.';
COMMENT ON COLUMN serving.models_v1.run_id IS 'The Dagster run that trained it.';
COMMENT ON COLUMN serving.models_v1.trained_at IS 'Nothing known later went into it.';
COMMENT ON COLUMN serving.models_v1.registered_at IS 'When it was stored.';
COMMENT ON COLUMN serving.models_v1.approved_at IS 'When a person let it serve, where that is asked.';
COMMENT ON COLUMN serving.models_v1.approved_by IS 'Who did.';
COMMENT ON COLUMN serving.models_v1.deployed_at IS 'When it last began to serve.';
COMMENT ON COLUMN serving.models_v1.retired_at IS 'When it was decided that it serves no more.';
