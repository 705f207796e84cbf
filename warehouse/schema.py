"""The tables, as SQLAlchemy sees them.

The migrations create them; a test holds the two together. What SQLAlchemy has no words for
(policies, triggers, partitions, views) stands in the migrations alone. Every key starts with
tenant_id, but of `common`, which is no tenant's.
"""

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    }
)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _now(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def _written(name: str) -> Column[object]:
    """When the row is written, where `_now` is when its transaction began."""
    default = func.clock_timestamp()
    return Column(name, DateTime(timezone=True), nullable=False, server_default=default)


def _of_a_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "version"], ["ml.models.tenant_id", "ml.models.version"], ondelete="CASCADE"
    )


def _json(name: str) -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=text("'{}'::jsonb"))


tenants = Table(
    "tenants",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    Column("horizon_days", Integer, nullable=False, server_default="30"),
    _now("created_at"),
    CheckConstraint("tenant_id ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name="slug"),
    CheckConstraint("status in ('active', 'paused', 'removing')", name="status"),
    CheckConstraint("horizon_days between 1 and 365", name="horizon_days"),
    schema="crm",
)

readers = Table(
    "readers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("role_name", Text, primary_key=True),
    Index(None, "role_name", unique=True),
    schema="crm",
)

leads = Table(
    "leads",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("account_id", Text),
    _time("created_at"),
    _time("converted_at", nullable=True),
    _time("closed_at", nullable=True),
    _json("attributes"),
    _now("known_at"),
    schema="crm",
)

customers = Table(
    "customers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("lead_id", Text),
    Column("name", Text, nullable=False),
    _time("created_at"),
    _time("churned_at", nullable=True),
    _json("attributes"),
    _now("known_at"),
    schema="crm",
)

deals = Table(
    "deals",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("deal_id", Text, primary_key=True),
    Column("lead_id", Text),
    Column("customer_id", Text),
    Column("amount", Double),
    Column("stage", Text, nullable=False),
    _time("created_at"),
    _time("closed_at", nullable=True),
    Column("won", Boolean),
    _now("known_at"),
    schema="crm",
)

interactions = Table(
    "interactions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("interaction_id", Text, primary_key=True),
    Column("lead_id", Text),
    Column("customer_id", Text),
    Column("kind", Text, nullable=False),
    _time("occurred_at"),
    Column("text", Text),
    _now("known_at"),
    Index(None, "tenant_id", "lead_id"),
    Index(
        "interactions_customer_id_idx",
        "tenant_id",
        "customer_id",
        postgresql_where=text("customer_id IS NOT NULL"),
    ),
    schema="crm",
)

attribute_history = Table(
    "attribute_history",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("known_at", DateTime(timezone=True), primary_key=True),
    _time("valid_at"),
    _json("attributes"),
    schema="crm",
)

rejected_rows = Table(
    "rejected_rows",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("rejection_id", Integer, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("row", JSONB, nullable=False),
    _now("rejected_at"),
    schema="crm",
)

rescore_queue = Table(
    "rescore_queue",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("change_id", BigInteger, Identity(), primary_key=True),
    Column("lead_id", Text, nullable=False),
    Column("bucket", SmallInteger, Computed("(hashtext(lead_id) & 7)::smallint"), nullable=False),
    Column("priority", SmallInteger, nullable=False),
    _written("changed_at"),
    _written("due_at"),
    Index(
        "rescore_queue_tenant_id_priority_change_id_idx",
        "tenant_id",
        text("priority DESC"),
        "change_id",
    ),
    schema="crm",
)

rescore_failures = Table(
    "rescore_failures",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    _written("failed_at"),
    _time("retry_at", nullable=True),
    schema="crm",
)

feature_sets = Table(
    "feature_sets",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("feature_set", Integer, primary_key=True),
    _time("as_of"),
    Column("horizon_days", Integer, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("converted", Integer, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    _now("created_at"),
    schema="ml",
)

training_rows = Table(
    "training_rows",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("feature_set", Integer, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("snapshot_at", DateTime(timezone=True), primary_key=True),
    Column("label", Boolean, nullable=False),
    _time("label_known_at"),
    Column("features", ARRAY(REAL), nullable=False),
    schema="ml",
)

models = Table(
    "models",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("feature_set", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("outcomes", Integer, nullable=False),
    Column("base", Double, nullable=False),
    Column("horizon_days", Integer, nullable=False),
    Column("metrics", JSONB, nullable=False),
    Column("artifact", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("mlflow_run_id", Text),
    _time("trained_at"),
    Column("name", Text, nullable=False, server_default="lead_model"),
    Column("description", Text, nullable=False, server_default=""),
    _json("data"),
    _json("configuration"),
    Column("gate", JSONB),
    _now("registered_at"),
    _time("approval_asked_at", nullable=True),
    _time("approved_at", nullable=True),
    Column("approved_by", Text),
    _time("deployed_at", nullable=True),
    _time("retired_at", nullable=True),
    CheckConstraint(
        "stage in ('own_model', 'prior_model', 'pooled_model', 'base_rate')", name="stage"
    ),
    CheckConstraint(
        "name in ('lead_model', 'customer_churn', 'deal_value', 'customer_segments')", name="name"
    ),
    UniqueConstraint("tenant_id", "name", "version", name="models_tenant_id_name_version_key"),
    schema="ml",
)

model_factors = Table(
    "model_factors",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("position", SmallInteger, primary_key=True),
    Column("factor", Text, nullable=False),
    Column("template", Text, nullable=False),
    Column("shown", SmallInteger, nullable=False),
    Column("categories", ARRAY(Text), nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "version"], ["ml.models.tenant_id", "ml.models.version"], ondelete="CASCADE"
    ),
    schema="ml",
)

model_aliases = Table(
    "model_aliases",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True, server_default="lead_model"),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    _now("set_at"),
    ForeignKeyConstraint(
        ["tenant_id", "name", "version"],
        ["ml.models.tenant_id", "ml.models.name", "ml.models.version"],
    ),
    CheckConstraint("alias in ('champion', 'challenger')", name="alias"),
    schema="ml",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("entry_id", Integer, Identity(), primary_key=True),
    _now("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("details", JSONB, nullable=False),
    schema="ml",
)

alerts = Table(
    "alerts",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("alert_id", Integer, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("message", Text, nullable=False),
    _now("raised_at"),
    _time("resolved_at", nullable=True),
    Index(
        "alerts_open_idx",
        "tenant_id",
        "kind",
        "subject",
        unique=True,
        postgresql_where=text("resolved_at IS NULL"),
    ),
    schema="ml",
)

rescorings = Table(
    "rescorings",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("rescoring_id", BigInteger, Identity(), primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("model_version", Integer, nullable=False),
    _time("scored_at"),
    Column("leads", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("delays", ARRAY(REAL), nullable=False),
    _time("reported_at", nullable=True),
    Index("rescorings_unreported_idx", "tenant_id", postgresql_where=text("reported_at IS NULL")),
    Index(None, "scored_at"),
    schema="ml",
)

lead_scores = Table(
    "lead_scores",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("probability", Double, nullable=False),
    _time("calculated_at"),
    _time("expires_at"),
    schema="ml",
)

score_rankings = Table(
    "score_rankings",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("ranked_at", DateTime(timezone=True), primary_key=True),
    Column("quantiles", ARRAY(Double), nullable=False),
    Column("whole", Boolean, nullable=False, server_default="true"),
    schema="ml",
)

lead_score_history = Table(
    "lead_score_history",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    Column("calculated_at", DateTime(timezone=True), primary_key=True),
    Column("score", SmallInteger, nullable=False),
    Column("probability", Double, nullable=False),
    Column("confidence", REAL, nullable=False),
    Column("model_version", Integer, nullable=False),
    _time("expires_at"),
    _time("ranked_at"),
    Column("run_id", Text, nullable=False),
    Column("contributions", ARRAY(REAL), nullable=False),
    Column("inputs", ARRAY(REAL), nullable=False),
    schema="ml",
    postgresql_partition_by="RANGE (calculated_at)",
)

sources = Table(
    "sources",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("source_id", Text, primary_key=True),
    Column("url_variable", Text, nullable=False),
    Column("mapping", JSONB, nullable=False),
    Column("slot_name", Text, nullable=False),
    _now("added_at"),
    Column("load_wanted", Text),
    _time("loaded_at", nullable=True),
    _time("read_at", nullable=True),
    Column("confirmed_lsn", Text),
    _json("watermarks"),
    Column("lag_bytes", BigInteger),
    Column("failures", Integer, nullable=False, server_default="0"),
    _time("retry_at", nullable=True),
    Column("error", Text),
    CheckConstraint("source_id ~ '^[a-z0-9][a-z0-9-]{1,62}$'", name="slug"),
    schema="crm",
)

source_keys = Table(
    "source_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("source_id", Text, primary_key=True),
    Column("source_table", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("record_table", Text, nullable=False),
    Column("record_id", Text),
    Column("rejected", Boolean, nullable=False),
    Index(None, "tenant_id", "record_table", "record_id"),
    schema="crm",
)

training_settings = Table(
    "training_settings",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("settings", JSONB, nullable=False),
    _now("set_at"),
    schema="ml",
)

training_jobs = Table(
    "training_jobs",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("algorithm", Text),
    Column("status", Text, nullable=False, server_default="queued"),
    Column("step", Text, nullable=False, server_default="waiting"),
    Column("progress", REAL, nullable=False, server_default="0"),
    _json("metrics"),
    _json("hyperparameters"),
    _json("training_data"),
    _json("validation_config"),
    _json("request"),
    Column("requested_by", Text, nullable=False),
    Column("run_id", Text),
    Column("model_version", Integer),
    Column("error", Text),
    _written("created_at"),
    _time("started_at", nullable=True),
    _time("ended_at", nullable=True),
    _time("cancel_asked_at", nullable=True),
    _time("estimated_completion", nullable=True),
    CheckConstraint(
        "status in ('queued', 'running', 'completed', 'failed', 'cancelled')", name="status"
    ),
    CheckConstraint("progress between 0 and 1", name="progress"),
    Index(
        "training_jobs_open_idx",
        "tenant_id",
        postgresql_where=text("status in ('queued', 'running')"),
    ),
    schema="ml",
)

training_job_events = Table(
    "training_job_events",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("event_id", BigInteger, Identity(), primary_key=True),
    _written("at"),
    Column("step", Text, nullable=False),
    Column("share", REAL, nullable=False),
    _json("metrics"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"],
        ["ml.training_jobs.tenant_id", "ml.training_jobs.job_id"],
        ondelete="CASCADE",
    ),
    schema="ml",
)

tuning_trials = Table(
    "tuning_trials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("study", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("parameters", JSONB, nullable=False),
    Column("intermediate", JSONB, nullable=False),
    Column("value", Double),
    Column("state", Text, nullable=False),
    _written("ended_at"),
    CheckConstraint("state in ('complete', 'pruned')", name="state"),
    schema="ml",
)

load_checks = Table(
    "load_checks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("load_id", BigInteger, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("record_table", Text, nullable=False),
    _time("loaded_at"),
    Column("rows", Integer, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("profile", JSONB, nullable=False),
    Column("failures", JSONB, nullable=False),
    Column("accepted_by", Text),
    Index(None, "tenant_id", "source", "record_table", "load_id"),
    CheckConstraint("verdict in ('passed', 'warned', 'blocked', 'accepted')", name="verdict"),
    schema="crm",
)

ab_tests = Table(
    "ab_tests",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("test_id", Integer, primary_key=True),
    Column("champion", Integer, nullable=False),
    Column("challenger", Integer, nullable=False),
    Column("mode", Text, nullable=False),
    Column("share", Double, nullable=False),
    Column("horizon_days", Integer, nullable=False),
    Column("status", Text, nullable=False, server_default="open"),
    _time("started_at"),
    Column("started_by", Text, nullable=False),
    _time("ends_at"),
    _time("ended_at", nullable=True),
    Column("verdict", Text, nullable=False, server_default=""),
    _json("result"),
    CheckConstraint(
        "status in ('open', 'promoted', 'awaiting_approval', 'dropped', 'undecided', 'overtaken',"
        " 'stopped')",
        name="status",
    ),
    CheckConstraint("mode in ('split', 'shadow')", name="mode"),
    CheckConstraint("share between 0 and 1 and (share > 0) = (mode = 'split')", name="share"),
    Index("ab_tests_open_idx", "tenant_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    schema="ml",
)

ab_scores = Table(
    "ab_scores",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("test_id", Integer, primary_key=True),
    Column("lead_id", Text, primary_key=True),
    _time("scored_at"),
    Column("champion", Double, nullable=False),
    Column("challenger", Double, nullable=False),
    Column("challenger_served", Boolean, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "test_id"],
        ["ml.ab_tests.tenant_id", "ml.ab_tests.test_id"],
        ondelete="CASCADE",
    ),
    schema="ml",
)

score_quality = Table(
    "score_quality",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("week_start", Date, primary_key=True),
    Column("rows", Integer, nullable=False),
    Column("converted", Integer, nullable=False),
    Column("log_loss", Double, nullable=False),
    Column("base_rate_log_loss", Double, nullable=False),
    Column("brier", Double, nullable=False),
    Column("predicted", Double, nullable=False),
    Column("observed", Double, nullable=False),
    Column("ece", Double, nullable=False),
    Column("auc", Double),
    Column("lift10", Double),
    _time("measured_at"),
    _of_a_version(),
    schema="ml",
)

model_looks = Table(
    "model_looks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("looked_at", DateTime(timezone=True), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("figures", JSONB, nullable=False),
    CheckConstraint("action in ('nothing', 'retraining', 'rollback')", name="action"),
    _of_a_version(),
    schema="ml",
)

input_drift = Table(
    "input_drift",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("looked_at", DateTime(timezone=True), primary_key=True),
    Column("feature", Text, primary_key=True),
    Column("psi", Double, nullable=False),
    Column("p_value", Double, nullable=False),
    Column("alarm", Boolean, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "looked_at"],
        ["ml.model_looks.tenant_id", "ml.model_looks.looked_at"],
        ondelete="CASCADE",
    ),
    schema="ml",
)

model_pages = Table(
    "model_pages",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("html", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    _now("made_at"),
    _of_a_version(),
    schema="ml",
)

customer_attribute_history = Table(
    "customer_attribute_history",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("customer_id", Text, primary_key=True),
    Column("known_at", DateTime(timezone=True), primary_key=True),
    _time("valid_at"),
    _json("attributes"),
    schema="crm",
)

customer_predictions = Table(
    "customer_predictions",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("subject_id", Text, primary_key=True),
    Column("model_version", Integer, nullable=False),
    Column("output", JSONB, nullable=False),
    Column("contributions", ARRAY(REAL), nullable=False),
    Column("inputs", ARRAY(REAL), nullable=False),
    _time("calculated_at"),
    Column("run_id", Text, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "model_version"], ["ml.models.tenant_id", "ml.models.version"]
    ),
    schema="ml",
)

model_lacks = Table(
    "model_lacks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("lacking", Text, nullable=False),
    _now("noted_at"),
    schema="ml",
)

prediction_jobs = Table(
    "prediction_jobs",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("model_version", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="queued"),
    Column("total_items", Integer, nullable=False, server_default="0"),
    Column("completed_items", Integer, nullable=False, server_default="0"),
    Column("failed_items", Integer, nullable=False, server_default="0"),
    _json("input"),
    Column("requested_by", Text, nullable=False),
    Column("run_id", Text),
    Column("error", Text),
    _written("created_at"),
    _time("started_at", nullable=True),
    _time("ended_at", nullable=True),
    _time("cancel_asked_at", nullable=True),
    ForeignKeyConstraint(
        ["tenant_id", "model_version"], ["ml.models.tenant_id", "ml.models.version"]
    ),
    CheckConstraint(
        "status in ('queued', 'running', 'completed', 'failed', 'cancelled')", name="status"
    ),
    Index(
        "prediction_jobs_open_idx",
        "tenant_id",
        postgresql_where=text("status in ('queued', 'running')"),
    ),
    schema="ml",
)

prediction_items = Table(
    "prediction_items",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("subject_id", Text, nullable=False),
    Column("attributes", JSONB),
    _time("created_at", nullable=True),
    Column("error", Text),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"],
        ["ml.prediction_jobs.tenant_id", "ml.prediction_jobs.job_id"],
        ondelete="CASCADE",
    ),
    schema="ml",
)

prediction_results = Table(
    "prediction_results",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("job_id", Text, primary_key=True),
    Column("item", Integer, primary_key=True),
    Column("subject_id", Text, nullable=False),
    Column("output", JSONB),
    Column("contributions", ARRAY(REAL)),
    Column("inputs", ARRAY(REAL)),
    Column("error", Text),
    _time("predicted_at"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id"],
        ["ml.prediction_jobs.tenant_id", "ml.prediction_jobs.job_id"],
        ondelete="CASCADE",
    ),
    Index(
        "prediction_results_failed_idx",
        "tenant_id",
        "job_id",
        "item",
        postgresql_where=text("error IS NOT NULL"),
    ),
    Index(None, "tenant_id", "subject_id"),
    schema="ml",
)

events = Table(
    "events",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("event_id", BigInteger, Identity(), primary_key=True),
    Column("message_id", Text, nullable=False),
    _written("at"),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    _time("due_at", nullable=True),
    _time("delivered_at", nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    Index("events_due_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    schema="ml",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret_variable", Text, nullable=False),
    _now("set_at"),
    schema="ml",
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("key_id", Integer, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),
    Column("master_id", Text, nullable=False),
    _written("made_at"),
    schema="ml",
)

llm_answers = Table(
    "llm_answers",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),
    Column("group_digest", LargeBinary),
    Column("key_id", Integer),
    Column("sealed", LargeBinary),
    Column("claim", Text),
    _time("stored_at"),
    _time("expires_at"),
    ForeignKeyConstraint(
        ["tenant_id", "key_id"],
        ["ml.tenant_keys.tenant_id", "ml.tenant_keys.key_id"],
        ondelete="CASCADE",
    ),
    CheckConstraint("(sealed IS NULL) = (key_id IS NULL)", name="sealed"),
    CheckConstraint("(sealed IS NULL) = (claim IS NOT NULL)", name="claim"),
    Index(
        "llm_answers_group_idx",
        "tenant_id",
        "group_digest",
        "stored_at",
        postgresql_where=text("group_digest IS NOT NULL"),
    ),
    schema="ml",
)

llm_budgets = Table(
    "llm_budgets",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("budget_id", Text, primary_key=True),
    Column("feature", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("usd", Numeric),
    Column("tokens", BigInteger),
    Column("at_limit", Text, nullable=False),
    _time("starts_at"),
    Column("taken_usd", Numeric, nullable=False),
    Column("taken_tokens", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "feature", name="llm_budgets_tenant_id_feature_key"),
    CheckConstraint("period in ('day', 'month')", name="period"),
    CheckConstraint("at_limit in ('refuse', 'cheaper')", name="at_limit"),
    CheckConstraint("usd IS NOT NULL OR tokens IS NOT NULL", name="limit"),
    schema="ml",
    postgresql_with={"fillfactor": 50},
)

llm_reservations = Table(
    "llm_reservations",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("reservation_id", Text, primary_key=True),
    Column("budget_ids", ARRAY(Text), nullable=False),
    Column("feature", Text, nullable=False),
    Column("usd", Numeric, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    _time("reserved_at"),
    _time("lapses_at"),
    schema="ml",
)

llm_ledger = Table(
    "llm_ledger",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("entry_id", BigInteger, Identity(), primary_key=True),
    _time("at"),
    Column("feature", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("prompt_version", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("data_version", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("usd", Numeric),
    Column("seconds", REAL, nullable=False),
    Column("saved_input_tokens", Integer, nullable=False),
    Column("saved_output_tokens", Integer, nullable=False),
    Column("saved_cached_tokens", Integer, nullable=False),
    Column("saved_usd", Numeric),
    Column("guessed", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    CheckConstraint(
        "outcome in ('answered', 'failed', 'unclear', 'hit', 'refused', 'blocked', 'fallback')",
        name="outcome",
    ),
    Index(None, "tenant_id", "at"),
    schema="ml",
)

# What is no tenant's: it has no tenant_id, and stays when a tenant is erased.
common = MetaData(naming_convention=metadata.naming_convention)

pooled_models = Table(
    "pooled_models",
    common,
    Column("version", Integer, Identity(), primary_key=True),
    Column("model", JSONB, nullable=False),
    Column("run_id", Text, nullable=False),
    _now("fitted_at"),
    schema="ml",
)
