"""Whether, and how, investigations are reported to OpenTelemetry. Loads it only where it is used."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from investigation_sdk.engine.recorder import Recorder
from investigation_sdk.errors import ConfigurationError
from investigation_sdk.telemetry.dropped import dropped

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from investigation_sdk.telemetry.metrics import Metrics

Conventions = Literal["genai", "openinference", "both"]

_CONVENTIONS: Final = ("genai", "openinference", "both")
_TRUE: Final = ("1", "true", "yes", "on")
_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_SEMCONV: Final = "INVESTIGATION_OTEL_SEMCONV"
_NEEDED: Final = "1.39 or newer"

_one_at_a_time = threading.RLock()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """How investigations are reported to OpenTelemetry: ``InvestigationSDK(url, telemetry=Telemetry(...))``.

    Attributes:
        tracer_provider: Of the OpenTelemetry SDK; None: the global one, whenever it is set.
        meter_provider: Likewise.
        logger_provider: Likewise.
        capture_content: Whether spans carry arguments and results, as they are recorded: what is sensitive is masked.
            None: as the environment's ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says, else not.
        conventions: Names of the attributes: OpenTelemetry's GenAI conventions, OpenInference's, or both. None: as
            the environment's ``INVESTIGATION_OTEL_SEMCONV`` says, else ``"genai"``.

    Raises:
        ConfigurationError: `conventions` is none of these; by the SDK, that opentelemetry-api is not installed, or
            too old.
    """

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None
    capture_content: bool | None = None
    conventions: Conventions | None = None

    def __post_init__(self) -> None:
        chosen = self.conventions or os.environ.get(_SEMCONV) or "genai"
        if chosen not in _CONVENTIONS:
            where = "conventions" if self.conventions else _SEMCONV
            raise ConfigurationError(f"{where}={chosen!r} is not one of {', '.join(map(repr, _CONVENTIONS))}")

    @property
    def content(self) -> bool:
        """Whether spans carry arguments and results."""
        if self.capture_content is not None:
            return self.capture_content
        return os.environ.get(_CONTENT, "").strip().lower() in _TRUE

    @property
    def names(self) -> tuple[bool, bool]:
        """Whether spans have the names of the GenAI conventions, and those of OpenInference."""
        chosen = self.conventions or os.environ.get(_SEMCONV) or "genai"
        return chosen != "openinference", chosen != "genai"


def finder(telemetry: Telemetry | Literal[False] | None) -> Callable[[Recorder], None] | None:
    """What looks for OpenTelemetry when a block is entered.

    Args:
        telemetry: Options. None: the usual ones, where the process has loaded OpenTelemetry, as every one that
            reports to it has. False: never.

    Raises:
        ConfigurationError: it is asked for, and not installed, or older than what is needed.
    """
    if telemetry is False:
        return None
    if telemetry is None:
        return _find
    try:
        importlib.import_module("investigation_sdk.telemetry.spans")
    except (ImportError, AttributeError, TypeError) as failed:  # what there is may be of another version
        raise ConfigurationError(
            f"telemetry= needs opentelemetry-api {_NEEDED}: pip install 'investigation-sdk[otel]'. Without the "
            f"argument, investigations are reported where OpenTelemetry is loaded. ({type(failed).__name__}: {failed})"
        ) from failed
    return lambda recorder: _instrument(recorder, telemetry)


def metrics_for(recorder: Recorder) -> Metrics | None:
    """The instruments to which a recorder reports; None where it does not."""
    tracer = recorder.look_for_tracer()
    if tracer is None:
        return None
    from investigation_sdk.telemetry.spans import OpenTelemetryTracer

    return tracer.metrics if isinstance(tracer, OpenTelemetryTracer) else None


def expect(recorder: Recorder, investigation_types: Iterable[str]) -> None:
    """A process begins to work on these types."""
    try:
        metrics = metrics_for(recorder)
        if metrics is not None:
            metrics.expect(investigation_types)
    except ConfigurationError:
        raise
    except Exception as failed:
        dropped("what is counted from 0", failed)


def _find(recorder: Recorder) -> None:
    if "opentelemetry.trace" in sys.modules:
        _instrument(recorder, None)


def _instrument(recorder: Recorder, options: Telemetry | None) -> None:
    """Where that cannot be, as with an OpenTelemetry that is too old, nothing is reported, and all goes on."""
    with _one_at_a_time:
        if recorder.find_tracer is None:  # another thread was here
            return
        try:
            from investigation_sdk.telemetry.metrics import metrics_of
            from investigation_sdk.telemetry.spans import OpenTelemetryTracer

            options = options or Telemetry()
            metrics = metrics_of(options.meter_provider)
            tracer = OpenTelemetryTracer(options, metrics)
            metrics.watch(recorder)
            recorder.tracer = tracer
        except ConfigurationError:
            raise
        except Exception as failed:
            dropped(f"anything, which needs opentelemetry-api {_NEEDED},", failed)
        recorder.find_tracer = None


def _after_fork() -> None:
    global _one_at_a_time  # noqa: PLW0603 - a thread that the child has not may have held it
    _one_at_a_time = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
