"""What runs at its hour: all leads scored, the past forgotten, tenants that are due trained."""

from dagster import DefaultScheduleStatus, ScheduleDefinition

from assets.customer_refresh import refresh_customer_models
from assets.nightly import rescore_all_leads, retention
from assets.pooled_lead_model import refresh_pooled_model
from assets.training import retrain_due_tenants

# In UTC. The first two are an hour and a half apart, for both read the whole history's keys;
# trainings come last, as they may take until the morning.
SCHEDULES = [
    ScheduleDefinition(
        job=rescore_all_leads,
        cron_schedule="0 2 * * *",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
    ScheduleDefinition(
        job=retention, cron_schedule="30 3 * * *", default_status=DefaultScheduleStatus.RUNNING
    ),
    # Before the trainings, which may be served by it.
    ScheduleDefinition(
        job=refresh_pooled_model,
        cron_schedule="45 3 * * *",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
    ScheduleDefinition(
        job=retrain_due_tenants,
        cron_schedule="0 4 * * *",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
    ScheduleDefinition(
        job=refresh_customer_models,
        cron_schedule="0 5 * * *",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
]
