"""The rows of all reading endpoints. Versions, fields, defaults and bounds are those of the recorded server."""

from __future__ import annotations

from otel_events.clearml_server.api.base import Endpoint, Field
from otel_events.clearml_server.api.reads import lines, metrics, navigation, plots, samples, scalars
from otel_events.clearml_server.store import TYPES

TASK = Field("task", required=True)
TASKS = Field("tasks", list, required=True, low=1)
METRIC = Field("metric", required=True)
VARIANT = Field("variant", required=True)
SCROLL = Field("scroll_id")
ITERS = Field("iters", int, default=1, low=1)
MODEL_EVENTS = Field("model_events", bool, default=False)
ALLOW_LOCKED = Field("allow_locked", bool, default=False)
METRICS = Field("metrics", list)
TASK_METRICS = Field("metrics", list, required=True, low=1)
KEY = Field("key", choices=("iter", "timestamp", "iso_time"), type_name="scalarkeyenum", default="iter")
SAMPLES = Field("samples", int, default=2_000, low=1, high=6_000)
EVENT_TYPE = Field("event_type", choices=(*TYPES, "*"), type_name="eventtype", default="*")
ORDER = Field("order", choices=("asc", "desc"), type_name="logorderenum")
BY_METRIC = Field("last_iters_per_task_metric", bool, default=True)
NO_SCROLL = Field("no_scroll", bool, default=False)
EARLIER = Field("navigate_earlier", bool, default=True)
REFRESH = Field("refresh", bool, default=False)
CURRENT_METRIC = Field("navigate_current_metric", bool, default=True)
ITERATION = Field("iteration", int)
NEXT_ITERATION = Field("next_iteration", bool, default=False)
NAVIGATION = (TASK_METRICS, ITERS, EARLIER, REFRESH, SCROLL, MODEL_EVENTS)
SAMPLE = (TASK, METRIC, ITERATION, REFRESH, SCROLL, CURRENT_METRIC, MODEL_EVENTS)
NEXT = (TASK, SCROLL, EARLIER, NEXT_ITERATION, MODEL_EVENTS)
OLD_LOG = (TASK, ORDER, SCROLL, Field("batch_size", int, default=500))
_FORMAT = "{asctime} {worker} {level} {msg}"

ENDPOINTS = (
    # Scalars and vectors
    Endpoint(
        "events.scalar_metrics_iter_histogram",
        "1.0",
        scalars.scalar_metrics_iter_histogram,
        (TASK, SAMPLES, KEY, METRICS, MODEL_EVENTS),
    ),
    Endpoint(
        "events.multi_task_scalar_metrics_iter_histogram",
        "1.0",
        scalars.multi_task_scalar_metrics_iter_histogram,
        (Field("tasks", list, required=True, low=1, high=100), SAMPLES, KEY, METRICS, MODEL_EVENTS),
    ),
    Endpoint(
        "events.scalar_metrics_iter_raw",
        "2.16",
        scalars.scalar_metrics_iter_raw,
        (
            TASK,
            Field("metric", dict, required=True, type_name="metricvariants"),
            KEY,
            Field("batch_size", int, default=scalars.RAW_BATCH),
            Field("count_total", bool, default=False),
            SCROLL,
            MODEL_EVENTS,
        ),
    ),
    Endpoint(
        "events.get_scalar_metric_data",
        "1.0",
        scalars.get_scalar_metric_data,
        (TASK, METRIC, SCROLL, NO_SCROLL, MODEL_EVENTS),
    ),
    Endpoint(
        "events.get_task_single_value_metrics",
        "1.0",
        scalars.get_task_single_value_metrics,
        (TASKS, METRICS, MODEL_EVENTS),
    ),
    Endpoint("events.get_task_latest_scalar_values", "1.0", scalars.get_task_latest_scalar_values, (TASK,)),
    Endpoint(
        "events.get_scalar_metrics_and_variants",
        "1.0",
        metrics.get_scalar_metrics_and_variants,
        (TASK, MODEL_EVENTS),
    ),
    Endpoint(
        "events.get_vector_metrics_and_variants",
        "1.0",
        metrics.get_vector_metrics_and_variants,
        (TASK, MODEL_EVENTS),
    ),
    Endpoint(
        "events.vector_metrics_iter_histogram",
        "1.0",
        scalars.vector_metrics_iter_histogram,
        (TASK, METRIC, VARIANT, MODEL_EVENTS),
    ),
    # Metrics
    Endpoint(
        "events.get_task_metrics",
        "1.0",
        metrics.get_task_metrics,
        (TASKS, Field("event_type", choices=EVENT_TYPE.choices, type_name="eventtype", required=True), MODEL_EVENTS),
    ),
    Endpoint("events.get_multi_task_metrics", "1.0", metrics.get_multi_task_metrics, (TASKS, EVENT_TYPE, MODEL_EVENTS)),
    Endpoint(
        "projects.get_unique_metric_variants",
        "1.0",
        metrics.get_unique_metric_variants,
        (Field("project"), Field("ids", list), Field("model_metrics", bool, default=False)),
    ),
    # Events and lines
    Endpoint(
        "events.get_task_events",
        "1.0",
        lines.get_task_events,
        (
            TASK,
            Field("order", choices=("asc", "desc"), type_name="logorderenum", default="asc"),
            Field("batch_size", int, default=500),
            Field("count_total", bool, default=True),
            EVENT_TYPE,
            METRICS,
            SCROLL,
            MODEL_EVENTS,
        ),
    ),
    Endpoint("events.get_task_log", "1.0", lines.get_task_log_1_5, OLD_LOG),
    Endpoint(
        "events.get_task_log",
        "1.7",
        lines.get_task_log_1_7,
        (*OLD_LOG, Field("from", choices=("head", "tail"), type_name="logfrom", default="head")),
    ),
    Endpoint(
        "events.get_task_log",
        "2.9",
        lines.get_task_log,
        (TASK, Field("batch_size", int, default=5_000), EARLIER, Field("from_timestamp", float), ORDER, METRICS),
    ),
    Endpoint(
        "events.download_task_log",
        "1.0",
        lines.download_task_log,
        (TASK, Field("line_type", default="json"), Field("line_format", default=_FORMAT)),
    ),
    Endpoint("events.clear_scroll", "2.18", lines.clear_scroll, (SCROLL,)),
    # Plots and images
    Endpoint("events.get_task_plots", "1.0", plots.get_task_plots_1_0, (TASK, ITERS, SCROLL, MODEL_EVENTS)),
    Endpoint(
        "events.get_task_plots",
        "1.8",
        plots.get_task_plots,
        (TASK, ITERS, SCROLL, METRICS, NO_SCROLL, MODEL_EVENTS),
    ),
    Endpoint(
        "events.get_multi_task_plots",
        "1.0",
        plots.get_multi_task_plots_1_0,
        (TASKS, ITERS, SCROLL, MODEL_EVENTS),
    ),
    Endpoint(
        "events.get_multi_task_plots",
        "1.8",
        plots.get_multi_task_plots,
        (
            TASKS,
            ITERS,
            SCROLL,
            METRICS,
            NO_SCROLL,
            MODEL_EVENTS,
            BY_METRIC,
        ),
    ),
    Endpoint("events.debug_images", "1.0", plots.debug_images_1_0, (TASK, ITERS, SCROLL)),
    Endpoint("events.debug_images", "1.8", plots.debug_images_1_8, (TASK, ITERS, SCROLL, MODEL_EVENTS)),
    Endpoint("events.debug_images", "2.7", navigation.debug_images, NAVIGATION),
    Endpoint("events.plots", "1.0", navigation.plots, NAVIGATION),
    Endpoint("events.get_debug_image_sample", "2.12", samples.get_debug_image_sample, (*SAMPLE, VARIANT)),
    Endpoint("events.next_debug_image_sample", "2.12", samples.next_debug_image_sample, NEXT),
    Endpoint("events.get_plot_sample", "1.0", samples.get_plot_sample, SAMPLE),
    Endpoint("events.next_plot_sample", "1.0", samples.next_plot_sample, NEXT),
    # Deleting
    Endpoint("events.delete_for_task", "1.0", lines.delete_for_task, (TASK, ALLOW_LOCKED)),
    Endpoint("events.delete_for_model", "1.0", lines.delete_for_model, (Field("model", required=True), ALLOW_LOCKED)),
    Endpoint(
        "events.clear_task_log",
        "1.0",
        lines.clear_task_log,
        (
            TASK,
            ALLOW_LOCKED,
            Field("threshold_sec", int),
            Field("include_metrics", list),
            Field("exclude_metrics", list),
        ),
    ),
)
