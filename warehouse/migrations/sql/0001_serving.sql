-- What downstream services read. A view's name carries its version: columns may be added to a
-- version, and anything else is a new version beside the old one.

-- The words of a reason, by the rules of ml.reasons; a test holds the two together.
CREATE FUNCTION serving.number_words(value double precision) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN trim_scale(round(value::numeric, 2))::text;

CREATE FUNCTION serving.factor_words(
  factor text, template text, categories text[], value double precision
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN value IS NULL OR value IN ('NaN', 'Infinity', '-Infinity') THEN factor || ': not known'
    ELSE replace(template, '{value}', coalesce(
      CASE WHEN value >= 0 AND value < cardinality(categories)
        THEN categories[trunc(value)::integer + 1] END,
      serving.number_words(value)))
  END;

CREATE FUNCTION serving.effect_words(weight double precision) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN serving.number_words(exp(abs(weight))) = '1' THEN 'hardly changes the odds'
    WHEN weight > 0 THEN 'multiplies the odds by ' || serving.number_words(exp(weight))
    ELSE 'divides the odds by ' || serving.number_words(exp(-weight))
  END;

CREATE FUNCTION serving.reasoning(
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
        serving.effect_words(w.weight))
    ) ORDER BY abs(w.weight) DESC, f.position), '[]')
    FROM ml.model_factors f
    CROSS JOIN LATERAL (
      SELECT contributions[f.position + 1]::double precision AS weight,
        inputs[f.shown + 1]::double precision AS value
    ) w
    WHERE f.tenant_id = of_tenant AND f.version = model_version AND w.weight <> 0;
  END;

-- Share of the quantiles that are lower, plus half of those that tie, x 100; a probability less a
-- trillionth of itself is lower than those that tie with it.
CREATE FUNCTION serving.percentile(probability double precision, quantiles double precision[])
  RETURNS real LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN 50.0 * (width_bucket(probability, quantiles)
    + width_bucket(probability * (1 - 1e-12), quantiles)) / nullif(cardinality(quantiles), 0);

CREATE VIEW serving.lead_score_history_v1 WITH (security_invoker = true) AS
SELECT
  md5(concat_ws('/', h.tenant_id, h.lead_id, extract(epoch FROM h.calculated_at)))::uuid AS id,
  h.tenant_id,
  h.lead_id,
  h.score,
  h.probability,
  serving.percentile(h.probability, r.quantiles) AS percentile,
  h.confidence,
  jsonb_build_object(
    'stage', m.stage,
    'outcomes', m.outcomes,
    'enough', m.stage <> 'base_rate',
    'statement', CASE WHEN m.stage = 'base_rate'
      THEN format('not enough evidence: the conversion rate of %s past moments', m.outcomes)
      ELSE format('learnt from %s past moments of its leads', m.outcomes) END
  ) AS evidence,
  m.base AS base_log_odds,
  serving.reasoning(h.tenant_id, h.model_version, h.contributions, h.inputs) AS reasoning,
  h.model_version,
  h.calculated_at,
  h.expires_at,
  h.run_id
FROM ml.lead_score_history h
JOIN ml.models m ON m.tenant_id = h.tenant_id AND m.version = h.model_version
JOIN ml.score_rankings r ON r.tenant_id = h.tenant_id AND r.ranked_at = h.ranked_at;

CREATE VIEW serving.lead_scores_v1 WITH (security_invoker = true) AS
SELECT h.*
FROM ml.lead_scores s
JOIN serving.lead_score_history_v1 h
  ON h.tenant_id = s.tenant_id AND h.lead_id = s.lead_id AND h.calculated_at = s.calculated_at;

CREATE VIEW serving.lead_models_v1 WITH (security_invoker = true) AS
SELECT
  m.tenant_id, m.version, m.stage, m.outcomes, m.horizon_days, m.metrics, m.feature_set, m.sha256,
  m.run_id, m.mlflow_run_id, m.trained_at
FROM ml.models m;

GRANT SELECT ON ALL TABLES IN SCHEMA serving TO galena_app, galena_reader;

COMMENT ON VIEW serving.lead_scores_v1 IS
  'The newest score of every lead that was open at the newest scoring, with its reasons.';
COMMENT ON VIEW serving.lead_score_history_v1 IS
  'Every score ever served, with its reasons. One row per lead and calculation.';
COMMENT ON VIEW serving.lead_models_v1 IS
  'The lead scoring models that were trained, with their figures. One row per version.';

DO $$
DECLARE
  scores text;
BEGIN
  FOREACH scores IN ARRAY ARRAY['lead_scores_v1', 'lead_score_history_v1'] LOOP
    EXECUTE format('COMMENT ON COLUMN serving.%I.id IS %L', scores,
      'Identifies this score: the same lead and calculated_at give the same id.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.tenant_id IS %L', scores,
      'The tenant whose lead it is.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.lead_id IS %L', scores,
      'The lead''s id in the CRM.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.score IS %L', scores,
      'The probability x 100, rounded: 0 to 100.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.probability IS %L', scores,
      'Calibrated probability that the lead converts within the model''s horizon, 0 to 1.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.percentile IS %L', scores,
      'Share of the tenant''s scored leads with a lower probability, plus half of those that tie,'
      ' x 100: 0 to 100.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.confidence IS %L', scores,
      'One minus the width of the 90 % interval of the conversion rate of leads scored like this'
      ' one, 0 to 1.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.evidence IS %L', scores,
      'What the score rests on: stage (own_model or base_rate), outcomes: labelled past moments of leads it was learnt from,'
      ' whether they are enough, and the same in words.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.base_log_odds IS %L', scores,
      'Log-odds before any reason: base_log_odds plus all weights = ln(p / (1 - p)).');
    EXECUTE format('COMMENT ON COLUMN serving.%I.reasoning IS %L', scores,
      'The reasons, strongest first: [{factor, weight (log-odds), value (number or null),'
      ' explanation}].');
    EXECUTE format('COMMENT ON COLUMN serving.%I.model_version IS %L', scores,
      'The version of the tenant''s model: serving.lead_models_v1.version.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.calculated_at IS %L', scores,
      'When the score was calculated, from what was known strictly before.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.expires_at IS %L', scores,
      'After this time the score should have been replaced by a newer one.');
    EXECUTE format('COMMENT ON COLUMN serving.%I.run_id IS %L', scores,
      'The Dagster run that calculated it.');
  END LOOP;
END $$;
COMMENT ON COLUMN serving.lead_models_v1.tenant_id IS 'The tenant whose model it is.';
COMMENT ON COLUMN serving.lead_models_v1.version IS 'Counts from 1 for each tenant.';
COMMENT ON COLUMN serving.lead_models_v1.stage IS
  'own_model, or base_rate while there are too few outcomes.';
COMMENT ON COLUMN serving.lead_models_v1.outcomes IS 'Labelled past moments of leads that it was learnt from, up to four of a lead.';
COMMENT ON COLUMN serving.lead_models_v1.horizon_days IS
  'Days after scoring within which a conversion counts.';
COMMENT ON COLUMN serving.lead_models_v1.metrics IS
  'Hold-out figures of the model, of a logistic regression beside it and of the base rate.';
COMMENT ON COLUMN serving.lead_models_v1.feature_set IS 'The data snapshot it was trained on.';
COMMENT ON COLUMN serving.lead_models_v1.sha256 IS 'Digest of the document that serves.';
COMMENT ON COLUMN serving.lead_models_v1.run_id IS 'The Dagster run that trained it.';
COMMENT ON COLUMN serving.lead_models_v1.mlflow_run_id IS 'The MLflow run with its experiment.';
COMMENT ON COLUMN serving.lead_models_v1.trained_at IS 'When it was trained.';
