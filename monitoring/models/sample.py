"""A metric sample. It may live in a database of its own (moolai/routers.py), so it points at nothing outside."""

from django.db import models

NUMBERS = (
    "cpu_usage_percent cpu_load_1min cpu_load_5min cpu_load_15min cpu_cores_used memory_usage_mb memory_percent "
    "memory_available_mb memory_total_mb swap_usage_mb swap_percent storage_usage_gb storage_percent "
    "storage_available_gb storage_total_gb disk_read_mb_s disk_write_mb_s iops_read iops_write network_in_mb_s "
    "network_out_mb_s network_connections api_latency_ms db_latency_ms redis_latency_ms system_latency_ms "
    "process_count thread_count file_descriptors collection_duration_ms"
).split()


class SystemMetric(models.Model):
    """One sample of a machine's or an orchestrator's state; column names and units are published (API §5)."""

    metric_id = models.CharField(max_length=32, unique=True)
    user_id = models.CharField(max_length=50, blank=True)
    organization_id = models.CharField(max_length=50)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    timestamp = models.DateTimeField()
    cpu_usage_percent = models.FloatField(null=True)
    cpu_load_1min = models.FloatField(null=True)
    cpu_load_5min = models.FloatField(null=True)
    cpu_load_15min = models.FloatField(null=True)
    cpu_cores_used = models.FloatField(null=True)
    memory_usage_mb = models.FloatField(null=True)
    memory_percent = models.FloatField(null=True)
    memory_available_mb = models.FloatField(null=True)
    memory_total_mb = models.FloatField(null=True)
    swap_usage_mb = models.FloatField(null=True)
    swap_percent = models.FloatField(null=True)
    storage_usage_gb = models.FloatField(null=True)
    storage_percent = models.FloatField(null=True)
    storage_available_gb = models.FloatField(null=True)
    storage_total_gb = models.FloatField(null=True)
    disk_read_mb_s = models.FloatField(null=True)
    disk_write_mb_s = models.FloatField(null=True)
    iops_read = models.FloatField(null=True)
    iops_write = models.FloatField(null=True)
    network_in_mb_s = models.FloatField(null=True)
    network_out_mb_s = models.FloatField(null=True)
    network_connections = models.FloatField(null=True)
    api_latency_ms = models.FloatField(null=True)
    db_latency_ms = models.FloatField(null=True)
    redis_latency_ms = models.FloatField(null=True)
    system_latency_ms = models.FloatField(null=True)
    process_count = models.FloatField(null=True)
    thread_count = models.FloatField(null=True)
    file_descriptors = models.FloatField(null=True)
    custom = models.JSONField(default=dict, blank=True)
    collected_by = models.CharField(max_length=50, blank=True)
    collection_duration_ms = models.FloatField(null=True)
    message_hash = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "user_system_performance"
        verbose_name, verbose_name_plural = "metric sample", "metrics"
        ordering = ["-timestamp"]
        indexes = [
            models.Index(fields=["organization_id", "-timestamp"], name="metrics_by_organization"),
            models.Index(fields=["orchestrator_id", "-timestamp"], name="metrics_by_orchestrator"),
            models.Index(fields=["organization_id", "orchestrator_id", "-timestamp"], name="metrics_by_source"),
            models.Index(fields=["-timestamp", "-id"], name="metrics_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.orchestrator_id or self.organization_id} at {self.timestamp:%H:%M:%S}"
