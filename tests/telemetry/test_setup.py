"""Whether anything is reported: options, and processes that have not loaded OpenTelemetry, or its API alone."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from investigation_sdk import ConfigurationError, InvestigationSDK, telemetry, tool
from investigation_sdk.telemetry import Telemetry
from tests.telemetry.collected import Collected

Make = Callable[..., InvestigationSDK]


@tool
def look_up(name: str) -> str:
    return name.upper()


def test_wrong_options(otel: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="conventions='langfuse' is not one of 'genai', 'openinf"):
        otel.options(conventions="langfuse")
    monkeypatch.setenv("INVESTIGATION_OTEL_SEMCONV", "x")
    with pytest.raises(ConfigurationError, match="INVESTIGATION_OTEL_SEMCONV='x'"):
        Telemetry()


def test_names_of_attributes_and_instruments_are_in_one_module() -> None:
    folder = Path(telemetry.__file__).parent
    spelled = r'"(gen_ai\.[^"]*|openinference\.[^"]*|investigation\.(?!failed")[^"]*)"'
    for path in sorted(folder.rglob("*.py")):
        found = re.findall(spelled, path.read_text(encoding="utf-8"))
        assert bool(found) == (path.name == "conventions.py"), (path.name, found)


UNUSED = """
import sys
from investigation_sdk import InvestigationSDK, tool

@tool
def double(n):
    return 2 * n

sdk = InvestigationSDK("memory://")
with sdk.investigation("s"):
    double(1)
print(*(name for name in sys.modules if name.startswith("opentelemetry")))
"""


def test_opentelemetry_is_not_loaded_by_those_who_do_not_use_it() -> None:
    done = subprocess.run([sys.executable, "-c", UNUSED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == ""


NO_SDK = """
import sys
from opentelemetry import trace
from investigation_sdk import InvestigationSDK, tool

@tool
def double(n):
    assert not trace.get_current_span().get_span_context().is_valid
    return 2 * n

sdk = InvestigationSDK("memory://")
with sdk.investigation("s") as investigation:
    double(1)
print(sdk._recorder.tracer is not None, [e.metadata for e in sdk.sync.events(investigation.id) if e.metadata])
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


def test_the_api_alone_records_nothing_and_stores_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", NO_SDK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["True []", "[]"]


def test_telemetry_can_be_switched_off(otel: Collected, make_sdk: Make) -> None:
    sdk = make_sdk("memory://", telemetry=False)
    with sdk.investigation("s"):
        look_up("a")
    assert sdk._recorder.tracer is None
    assert otel.spans == []
