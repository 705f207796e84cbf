"""The partitions: one per tenant, added and removed by the sensor `tenants`."""

from dagster import DynamicPartitionsDefinition

tenant_partitions = DynamicPartitionsDefinition(name="tenants")
