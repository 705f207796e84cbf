-- Models of customers and deals, and what they say.

-- Customers' attributes as they were known, as crm.attribute_history is of leads, and by the same
-- rules: see 0001_history.sql.
CREATE TABLE crm.customer_attribute_history (
  tenant_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  known_at TIMESTAMP WITH TIME ZONE NOT NULL,
  valid_at TIMESTAMP WITH TIME ZONE NOT NULL,
  attributes JSONB DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT customer_attribute_history_pkey PRIMARY KEY (tenant_id, customer_id, known_at)
);

-- Customers are told apart from leads by their interactions, most of which are leads'.
CREATE INDEX interactions_customer_id_idx ON crm.interactions (tenant_id, customer_id)
  WHERE customer_id IS NOT NULL;

-- What the models that serve say of each present customer and each open deal, as of calculated_at.
-- output: the columns of ml.kinds.predict. inputs, contributions: as of a lead's score.
CREATE TABLE ml.customer_predictions (
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  subject_id TEXT NOT NULL,
  model_version INTEGER NOT NULL,
  output JSONB NOT NULL,
  contributions REAL[] NOT NULL,
  inputs REAL[] NOT NULL,
  calculated_at TIMESTAMP WITH TIME ZONE NOT NULL,
  run_id TEXT NOT NULL,
  CONSTRAINT customer_predictions_pkey PRIMARY KEY (tenant_id, name, subject_id),
  CONSTRAINT customer_predictions_tenant_id_model_version_fkey
    FOREIGN KEY (tenant_id, model_version) REFERENCES ml.models (tenant_id, version)
);

-- What a tenant lacks for a model of this name, in words; no row where it lacks nothing.
CREATE TABLE ml.model_lacks (
  tenant_id TEXT NOT NULL,
  name TEXT NOT NULL,
  lacking TEXT NOT NULL,
  noted_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT model_lacks_pkey PRIMARY KEY (tenant_id, name)
);

DO $$
DECLARE
  tenant_table regclass;
BEGIN
  FOREACH tenant_table IN ARRAY ARRAY[
    'crm.customer_attribute_history', 'ml.customer_predictions', 'ml.model_lacks']::regclass[]
  LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('CREATE POLICY tenant ON %s TO galena_app '
                   'USING (tenant_id = (SELECT crm.current_tenant()))', tenant_table);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO galena_app', tenant_table);
  END LOOP;
END $$;

CREATE POLICY reader ON ml.customer_predictions FOR SELECT TO galena_reader
  USING (tenant_id = (SELECT crm.reader_tenant()));
GRANT SELECT ON ml.customer_predictions TO galena_reader;

CREATE FUNCTION crm.keep_customer_attributes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO crm.customer_attribute_history
      (tenant_id, customer_id, known_at, valid_at, attributes)
    SELECT tenant_id, customer_id, known_at, least(created_at, known_at), attributes FROM written
    ON CONFLICT (tenant_id, customer_id, known_at) DO UPDATE SET attributes = EXCLUDED.attributes;
  ELSE
    INSERT INTO crm.customer_attribute_history
      (tenant_id, customer_id, known_at, valid_at, attributes)
    SELECT w.tenant_id, w.customer_id, t.at, t.at, w.attributes
    FROM written w
    JOIN overwritten o USING (tenant_id, customer_id)
    CROSS JOIN LATERAL (
      SELECT CASE WHEN w.known_at <= o.known_at THEN now() ELSE w.known_at END AS at
    ) t
    WHERE w.attributes <> o.attributes
    ON CONFLICT (tenant_id, customer_id, known_at) DO UPDATE SET attributes = EXCLUDED.attributes;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER keep_inserted_attributes AFTER INSERT ON crm.customers
  REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION crm.keep_customer_attributes();
CREATE TRIGGER keep_updated_attributes AFTER UPDATE ON crm.customers
  REFERENCING OLD TABLE AS overwritten NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION crm.keep_customer_attributes();

-- Of the customers there are, their present attributes are all that is known. Tables' owners are
-- bound by the policies, too, while they are forced.
ALTER TABLE crm.customers NO FORCE ROW LEVEL SECURITY;
ALTER TABLE crm.customer_attribute_history NO FORCE ROW LEVEL SECURITY;
INSERT INTO crm.customer_attribute_history (tenant_id, customer_id, known_at, valid_at, attributes)
SELECT tenant_id, customer_id, known_at, least(created_at, known_at), attributes FROM crm.customers;
ALTER TABLE crm.customers FORCE ROW LEVEL SECURITY;
ALTER TABLE crm.customer_attribute_history FORCE ROW LEVEL SECURITY;

-- A deal's reasons are of its amount: the same words, but for odds.
CREATE FUNCTION serving.amount_reasoning(
  of_tenant text, model_version integer, contributions real[], inputs real[]
) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
  BEGIN ATOMIC
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'factor', f.factor,
      'weight', w.weight,
      'value', CASE WHEN cardinality(f.categories) = 0
        AND w.value NOT IN ('NaN', 'Infinity', '-Infinity') THEN w.value END,
      'explanation', format('%s (%s)',
        serving.factor_words(f.factor, f.template, f.categories, w.value),
        replace(serving.effect_words(w.weight), 'the odds', 'the amount'))
    ) ORDER BY abs(w.weight) DESC, f.position), '[]')
    FROM ml.model_factors f
    CROSS JOIN LATERAL (
      SELECT contributions[f.position + 1]::double precision AS weight,
        inputs[f.shown + 1]::double precision AS value
    ) w
    WHERE f.tenant_id = of_tenant AND f.version = model_version AND w.weight <> 0;
  END;

CREATE VIEW serving.customer_churn_v1 WITH (security_invoker = true) AS
SELECT
  p.tenant_id,
  p.subject_id AS customer_id,
  (p.output ->> 'score')::smallint AS score,
  (p.output ->> 'probability')::double precision AS probability,
  (p.output ->> 'confidence')::real AS confidence,
  m.horizon_days,
  m.base AS base_log_odds,
  serving.reasoning(p.tenant_id, p.model_version, p.contributions, p.inputs) AS reasoning,
  m.stage,
  p.model_version,
  p.calculated_at,
  p.run_id
FROM ml.customer_predictions p
JOIN ml.models m ON m.tenant_id = p.tenant_id AND m.version = p.model_version
WHERE p.name = 'customer_churn';

CREATE VIEW serving.deal_values_v1 WITH (security_invoker = true) AS
SELECT
  p.tenant_id,
  p.subject_id AS deal_id,
  (p.output ->> 'value')::double precision AS value,
  (p.output ->> 'low')::double precision AS low,
  (p.output ->> 'high')::double precision AS high,
  m.base AS base_log_amount,
  serving.amount_reasoning(p.tenant_id, p.model_version, p.contributions, p.inputs) AS reasoning,
  m.stage,
  p.model_version,
  p.calculated_at,
  p.run_id
FROM ml.customer_predictions p
JOIN ml.models m ON m.tenant_id = p.tenant_id AND m.version = p.model_version
WHERE p.name = 'deal_value';

CREATE VIEW serving.customer_segments_v1 WITH (security_invoker = true) AS
SELECT
  p.tenant_id,
  p.subject_id AS customer_id,
  (p.output ->> 'segment')::integer AS segment,
  p.output ->> 'segment_name' AS segment_name,
  (p.output ->> 'share')::real AS share,
  (p.output ->> 'probability')::real AS probability,
  m.stage,
  p.model_version,
  p.calculated_at,
  p.run_id
FROM ml.customer_predictions p
JOIN ml.models m ON m.tenant_id = p.tenant_id AND m.version = p.model_version
WHERE p.name = 'customer_segments';

GRANT SELECT ON serving.customer_churn_v1, serving.deal_values_v1, serving.customer_segments_v1
  TO galena_app, galena_reader;

COMMENT ON VIEW serving.customer_churn_v1 IS
  'Each present customer''s probability to leave, with its reasons. One row per customer.';
COMMENT ON VIEW serving.deal_values_v1 IS
  'What each open deal is expected to bring if it is won, with its reasons. One row per deal.';
COMMENT ON VIEW serving.customer_segments_v1 IS
  'The segment of each present customer. One row per customer.';

DO $$
DECLARE
  predictions text;
BEGIN
  FOREACH predictions IN ARRAY
    ARRAY['customer_churn_v1', 'deal_values_v1', 'customer_segments_v1'] LOOP
    EXECUTE format('COMMENT ON COLUMN serving.%I.tenant_id IS %L', predictions,
      'The tenant whose record it is.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.stage IS %L', predictions,
      'own_model, or prior_model where outcomes are few; base_rate where every row gets the same.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.model_version IS %L', predictions,
      'The version of the tenant''s model: serving.models_v1.version.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.calculated_at IS %L', predictions,
      'When it was calculated, from what was known strictly before.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.run_id IS %L', predictions,
      'The Dagster run that calculated it.');
  END LOOP;
END $$;
COMMENT ON COLUMN serving.customer_churn_v1.customer_id IS 'The customer''s id in the CRM.';
COMMENT ON COLUMN serving.customer_churn_v1.score IS
  'The probability x 100, rounded: 0 to 100.';
COMMENT ON COLUMN serving.customer_churn_v1.probability IS
  'Calibrated probability that the customer leaves within horizon_days, 0 to 1.';
COMMENT ON COLUMN serving.customer_churn_v1.confidence IS
  'One minus the width of the 90 % interval of the rate at which customers like this one left.';
COMMENT ON COLUMN serving.customer_churn_v1.horizon_days IS
  'Days after calculated_at within which leaving counts.';
COMMENT ON COLUMN serving.customer_churn_v1.base_log_odds IS
  'Log-odds before any reason: base_log_odds plus all weights = ln(p / (1 - p)).';
COMMENT ON COLUMN serving.customer_churn_v1.reasoning IS
  'The reasons, strongest first: [{factor, weight (log-odds), value (number or null),'
  ' explanation}].';
COMMENT ON COLUMN serving.deal_values_v1.deal_id IS 'The deal''s id in the CRM.';
COMMENT ON COLUMN serving.deal_values_v1.value IS
  'Expected amount if the deal is won, in the CRM''s currency: a mean, so that deals add up.';
COMMENT ON COLUMN serving.deal_values_v1.low IS
  'Of ten deals that were won, one brought less than this.';
COMMENT ON COLUMN serving.deal_values_v1.high IS
  'Of ten deals that were won, one brought more than this.';
COMMENT ON COLUMN serving.deal_values_v1.base_log_amount IS
  'Logarithm of the amount before any reason: exp(base_log_amount plus all weights) is the middle'
  ' amount, of which value is a fixed multiple.';
COMMENT ON COLUMN serving.deal_values_v1.reasoning IS
  'The reasons, strongest first: [{factor, weight (log amount), value (number or null),'
  ' explanation}].';
COMMENT ON COLUMN serving.customer_segments_v1.customer_id IS 'The customer''s id in the CRM.';
COMMENT ON COLUMN serving.customer_segments_v1.segment IS
  'Counts from 1, the largest, for each model version.';
COMMENT ON COLUMN serving.customer_segments_v1.segment_name IS
  'What sets the segment apart, in words.';
COMMENT ON COLUMN serving.customer_segments_v1.share IS
  'Share of the customers that the model learnt from in this segment, 0 to 1.';
COMMENT ON COLUMN serving.customer_segments_v1.probability IS
  'How surely the customer belongs to it rather than to another, 0 to 1.';
