-- Two more stages: a careful model learnt from few outcomes, and the pooled one.
ALTER TABLE ml.models DROP CONSTRAINT models_stage_check;
ALTER TABLE ml.models ADD CONSTRAINT models_stage_check
  CHECK (stage in ('own_model', 'prior_model', 'pooled_model', 'base_rate'));

-- What a score rests on, in words and for programs.
CREATE FUNCTION serving.evidence(stage text, outcomes integer) RETURNS jsonb
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN jsonb_build_object(
    'stage', stage,
    'outcomes', outcomes,
    'enough', stage IN ('own_model', 'prior_model'),
    'statement', format(
      CASE stage
        WHEN 'own_model' THEN 'learnt from %s past moments of its leads'
        WHEN 'prior_model' THEN 'few outcomes: learnt cautiously from %s past moments of its leads'
        WHEN 'pooled_model' THEN 'not enough evidence of its own (%s past moments):'
          ' what the activity of other tenants'' leads says'
        ELSE 'not enough evidence: the conversion rate of %s past moments'
      END, outcomes)
  );

CREATE OR REPLACE VIEW serving.lead_score_history_v1 WITH (security_invoker = true) AS
SELECT
  md5(concat_ws('/', h.tenant_id, h.lead_id, extract(epoch FROM h.calculated_at)))::uuid AS id,
  h.tenant_id,
  h.lead_id,
  h.score,
  h.probability,
  serving.percentile(h.probability, r.quantiles) AS percentile,
  h.confidence,
  serving.evidence(m.stage, m.outcomes) AS evidence,
  m.base AS base_log_odds,
  serving.reasoning(h.tenant_id, h.model_version, h.contributions, h.inputs) AS reasoning,
  h.model_version,
  h.calculated_at,
  h.expires_at,
  h.run_id
FROM ml.lead_score_history h
JOIN ml.models m ON m.tenant_id = h.tenant_id AND m.version = h.model_version
JOIN ml.score_rankings r ON r.tenant_id = h.tenant_id AND r.ranked_at = h.ranked_at;

DO $$
DECLARE
  scores text;
BEGIN
  FOREACH scores IN ARRAY ARRAY['lead_scores_v1', 'lead_score_history_v1'] LOOP
    EXECUTE format('COMMENT ON COLUMN serving.%I.evidence IS %L', scores,
      'What the score rests on: stage (own_model, prior_model, pooled_model or base_rate),'
      ' outcomes: labelled past moments of leads it was learnt from, whether they are enough,'
      ' and the same in words.');
  END LOOP;
END $$;
COMMENT ON COLUMN serving.lead_models_v1.stage IS
  'own_model; while outcomes are few prior_model, pooled_model or base_rate.';
COMMENT ON COLUMN serving.lead_models_v1.metrics IS
  'How the model was made, its figures on outcomes it had not seen, those of every candidate and of'
  ' the base rate, what the leakage audit found, and figures by group.';
