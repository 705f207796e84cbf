"""What runs at its hour: the scores of all leads at night, and the forgetting of the past."""

from dagster import DefaultScheduleStatus, ScheduleDefinition

from assets.nightly import rescore_all_leads, retention

# In UTC, and an hour and a half apart, for both read the whole history's keys.
SCHEDULES = [
    ScheduleDefinition(
        job=rescore_all_leads,
        cron_schedule="0 2 * * *",
        default_status=DefaultScheduleStatus.RUNNING,
    ),
    ScheduleDefinition(
        job=retention, cron_schedule="30 3 * * *", default_status=DefaultScheduleStatus.RUNNING
    ),
]
