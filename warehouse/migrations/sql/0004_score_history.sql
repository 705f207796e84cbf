-- What a lead's score was at a time, and what moved between two times. A function's name carries
-- its version as a view's does.

-- By the newest row of the history, whether or not the view can show it: where a score's model is
-- gone there is no answer, and never an older score in its place.
CREATE FUNCTION serving.lead_score_at_v1(of_tenant text, of_lead text, at timestamptz)
  RETURNS SETOF serving.lead_score_history_v1 LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 AS $$
    SELECT v.*
    FROM (
      SELECT h.tenant_id, h.lead_id, h.calculated_at
      FROM ml.lead_score_history h
      WHERE h.tenant_id = of_tenant AND h.lead_id = of_lead AND h.calculated_at <= at
      ORDER BY h.calculated_at DESC
      LIMIT 1
    ) newest
    JOIN serving.lead_score_history_v1 v USING (tenant_id, lead_id, calculated_at)
  $$;

-- A score as weights that add up to its log-odds: the base, whose factor is null, and all factors.
CREATE FUNCTION serving.score_weights(of_tenant text, of_lead text, at timestamptz)
  RETURNS TABLE (factor text, weight double precision, explanation text)
  LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH newest AS MATERIALIZED (
      SELECT h.model_version, h.contributions, h.inputs
      FROM ml.lead_score_history h
      WHERE h.tenant_id = of_tenant AND h.lead_id = of_lead AND h.calculated_at <= at
      ORDER BY h.calculated_at DESC
      LIMIT 1
    )
    SELECT NULL, m.base, 'the model''s base'
    FROM newest n
    JOIN ml.models m ON m.tenant_id = of_tenant AND m.version = n.model_version
    UNION ALL
    SELECT f.factor, n.contributions[f.position + 1]::double precision,
      serving.factor_words(f.factor, f.template, f.categories, n.inputs[f.shown + 1])
    FROM newest n
    JOIN ml.model_factors f ON f.tenant_id = of_tenant AND f.version = n.model_version
  $$;

CREATE FUNCTION serving.lead_score_moves_v1(
  of_tenant text, of_lead text, since timestamptz, until timestamptz
) RETURNS TABLE (
  factor text, weight_before double precision, weight_after double precision,
  change double precision, explanation_before text, explanation_after text
) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH weights AS (
      SELECT s.factor, s.weight AS weight_before, 0 AS weight_after,
        s.explanation AS explanation_before, NULL AS explanation_after
      FROM serving.score_weights(of_tenant, of_lead, since) s
      UNION ALL
      SELECT u.factor, 0, u.weight, NULL, u.explanation
      FROM serving.score_weights(of_tenant, of_lead, until) u
    ), lines AS (
      SELECT w.factor, sum(w.weight_before) AS weight_before, sum(w.weight_after) AS weight_after,
        max(w.explanation_before) AS explanation_before,
        max(w.explanation_after) AS explanation_after
      FROM weights w
      GROUP BY w.factor
    )
    SELECT l.factor, l.weight_before, l.weight_after, l.weight_after - l.weight_before,
      l.explanation_before, l.explanation_after
    FROM lines l
    -- Both scores have a base, or there is nothing to compare.
    WHERE (
      SELECT b.explanation_before IS NOT NULL AND b.explanation_after IS NOT NULL
      FROM lines b
      WHERE b.factor IS NULL
    )
    ORDER BY abs(l.weight_after - l.weight_before) DESC, l.factor NULLS FIRST
  $$;

COMMENT ON FUNCTION serving.lead_score_at_v1(text, text, timestamptz) IS
  'The score that a lead had at a time, with its reasons: the newest calculated at or before it. No row where it had none yet, or where its model version has been deleted.';
COMMENT ON FUNCTION serving.score_weights(text, text, timestamptz) IS
  'The weights in log-odds of the score that a lead had at a time, and its base (factor is null). They add up to the log-odds of its probability.';
COMMENT ON FUNCTION serving.lead_score_moves_v1(text, text, timestamptz, timestamptz) IS
  'What moved between the scores that a lead had at two times: one row per factor of either model and one for the base (factor is null), strongest change first; weights in log-odds, 0 and no explanation where a model has no such factor. weight_before, weight_after and change add up to the log-odds before, those after, and their difference. No row where the lead had no score at one of the times.';
