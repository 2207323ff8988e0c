"""Record what AI agents do when they investigate: durable, ordered, verifiable.

The public names, each imported when it is first used: importing this package loads no database driver.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from investigation_sdk.domain.event_types import EventType as EventType
    from investigation_sdk.domain.metrics import MetricsReport as MetricsReport
    from investigation_sdk.domain.progress_record import Estimate as Estimate
    from investigation_sdk.domain.progress_record import InvestigationProgress as InvestigationProgress
    from investigation_sdk.domain.records import Investigation as Investigation
    from investigation_sdk.domain.records import InvestigationEvent as InvestigationEvent
    from investigation_sdk.domain.records import InvestigationPhase as InvestigationPhase
    from investigation_sdk.domain.records import InvestigationSnapshot as InvestigationSnapshot
    from investigation_sdk.domain.records import Page as Page
    from investigation_sdk.domain.records import PhasePlan as PhasePlan
    from investigation_sdk.domain.records import Problem as Problem
    from investigation_sdk.domain.records import Resolution as Resolution
    from investigation_sdk.domain.records import RowProblem as RowProblem
    from investigation_sdk.domain.records import RowsReport as RowsReport
    from investigation_sdk.domain.records import ToolExecution as ToolExecution
    from investigation_sdk.domain.records import ToolTotals as ToolTotals
    from investigation_sdk.domain.records import Usage as Usage
    from investigation_sdk.domain.records import VerificationReport as VerificationReport
    from investigation_sdk.domain.resumes import ResumedTool as ResumedTool
    from investigation_sdk.domain.resumes import ResumePreview as ResumePreview
    from investigation_sdk.domain.resumes import ResumeReport as ResumeReport
    from investigation_sdk.domain.states import ALLOWED_TRANSITIONS as ALLOWED_TRANSITIONS
    from investigation_sdk.domain.states import Effect as Effect
    from investigation_sdk.domain.states import InvestigationState as InvestigationState
    from investigation_sdk.domain.states import PhaseState as PhaseState
    from investigation_sdk.domain.states import ToolState as ToolState
    from investigation_sdk.engine.service import InvestigationStateService as InvestigationStateService
    from investigation_sdk.engine.tracker import ProgressTracker as ProgressTracker
    from investigation_sdk.errors import AccessDenied as AccessDenied
    from investigation_sdk.errors import AmbiguousReference as AmbiguousReference
    from investigation_sdk.errors import BackendUnavailable as BackendUnavailable
    from investigation_sdk.errors import ConfigurationError as ConfigurationError
    from investigation_sdk.errors import InvalidArgument as InvalidArgument
    from investigation_sdk.errors import InvalidStateTransition as InvalidStateTransition
    from investigation_sdk.errors import InvestigationBusy as InvestigationBusy
    from investigation_sdk.errors import InvestigationCancelled as InvestigationCancelled
    from investigation_sdk.errors import InvestigationError as InvestigationError
    from investigation_sdk.errors import InvestigationFinished as InvestigationFinished
    from investigation_sdk.errors import InvestigationInterrupt as InvestigationInterrupt
    from investigation_sdk.errors import InvestigationNotFound as InvestigationNotFound
    from investigation_sdk.errors import InvestigationPaused as InvestigationPaused
    from investigation_sdk.errors import InvestigationTimeout as InvestigationTimeout
    from investigation_sdk.errors import InvestigationUnfinished as InvestigationUnfinished
    from investigation_sdk.errors import LeaseLost as LeaseLost
    from investigation_sdk.errors import NotRecorded as NotRecorded
    from investigation_sdk.errors import PayloadTooLarge as PayloadTooLarge
    from investigation_sdk.errors import PhaseError as PhaseError
    from investigation_sdk.errors import RecordUnreadable as RecordUnreadable
    from investigation_sdk.errors import ResumeDivergence as ResumeDivergence
    from investigation_sdk.errors import SchemaMismatch as SchemaMismatch
    from investigation_sdk.errors import UnknownOutcome as UnknownOutcome
    from investigation_sdk.errors import VersionConflict as VersionConflict
    from investigation_sdk.errors import WorkerStopped as WorkerStopped
    from investigation_sdk.ids import Id as Id
    from investigation_sdk.principals import PrincipalSDK as PrincipalSDK
    from investigation_sdk.realtime.brokers import Hearing as Hearing
    from investigation_sdk.realtime.sockets import InvestigationWebSocketManager as InvestigationWebSocketManager
    from investigation_sdk.recording.context import AgentScope as AgentScope
    from investigation_sdk.recording.context import agent as agent
    from investigation_sdk.recording.context import current_investigation as current_investigation
    from investigation_sdk.recording.context import current_tool as current_tool
    from investigation_sdk.recording.context import propagate as propagate
    from investigation_sdk.recording.phase import AnyPhaseScope as AnyPhaseScope
    from investigation_sdk.recording.phase import AsyncPhaseRun as AsyncPhaseRun
    from investigation_sdk.recording.phase import AsyncPhaseScope as AsyncPhaseScope
    from investigation_sdk.recording.phase import PhaseRun as PhaseRun
    from investigation_sdk.recording.phase import PhaseScope as PhaseScope
    from investigation_sdk.recording.phase import phase as phase
    from investigation_sdk.recording.run import AsyncInvestigationRun as AsyncInvestigationRun
    from investigation_sdk.recording.run import InvestigationContext as InvestigationContext
    from investigation_sdk.recording.run import InvestigationRun as InvestigationRun
    from investigation_sdk.recording.scope import InvestigationScope as InvestigationScope
    from investigation_sdk.recording.tool import tool as tool
    from investigation_sdk.recording.tool_call import ToolCall as ToolCall
    from investigation_sdk.sdk import InvestigationSDK as InvestigationSDK
    from investigation_sdk.security.roles import Principal as Principal
    from investigation_sdk.security.roles import Role as Role
    from investigation_sdk.settings import Durability as Durability
    from investigation_sdk.storage.backend import Backend as Backend
    from investigation_sdk.storage.tags import LargePayload as LargePayload
    from investigation_sdk.sync import SyncInvestigationSDK as SyncInvestigationSDK
    from investigation_sdk.work.dispatch import Dispatcher as Dispatcher
    from investigation_sdk.work.dispatch import Executed as Executed
    from investigation_sdk.work.dispatch import ExecutingDispatcher as ExecutingDispatcher
    from investigation_sdk.work.worker import Readiness as Readiness
    from investigation_sdk.work.worker import Worker as Worker

_MODULES = {
    "domain.event_types": "EventType",
    "domain.metrics": "MetricsReport",
    "domain.progress_record": "Estimate InvestigationProgress",
    "domain.records": (
        "Investigation InvestigationEvent InvestigationPhase InvestigationSnapshot Page PhasePlan Problem "
        "Resolution RowProblem RowsReport ToolExecution ToolTotals Usage VerificationReport"
    ),
    "domain.resumes": "ResumePreview ResumeReport ResumedTool",
    "domain.states": "ALLOWED_TRANSITIONS Effect InvestigationState PhaseState ToolState",
    "engine.service": "InvestigationStateService",
    "engine.tracker": "ProgressTracker",
    "errors": (
        "AccessDenied AmbiguousReference BackendUnavailable ConfigurationError InvalidArgument InvalidStateTransition "
        "InvestigationBusy InvestigationCancelled InvestigationError InvestigationFinished "
        "InvestigationInterrupt InvestigationNotFound InvestigationPaused InvestigationTimeout "
        "InvestigationUnfinished LeaseLost NotRecorded PayloadTooLarge PhaseError RecordUnreadable ResumeDivergence "
        "SchemaMismatch UnknownOutcome VersionConflict WorkerStopped"
    ),
    "ids": "Id",
    "principals": "PrincipalSDK",
    "realtime.brokers": "Hearing",
    "realtime.sockets": "InvestigationWebSocketManager",
    "recording.context": "AgentScope agent current_investigation current_tool propagate",
    "recording.phase": "AnyPhaseScope AsyncPhaseRun AsyncPhaseScope PhaseRun PhaseScope phase",
    "recording.run": "AsyncInvestigationRun InvestigationContext InvestigationRun",
    "recording.scope": "InvestigationScope",
    "recording.tool": "tool",
    "recording.tool_call": "ToolCall",
    "sdk": "InvestigationSDK",
    "security.roles": "Principal Role",
    "settings": "Durability",
    "storage.backend": "Backend",
    "storage.tags": "LargePayload",
    "sync": "SyncInvestigationSDK",
    "work.dispatch": "Dispatcher Executed ExecutingDispatcher",
    "work.worker": "Readiness Worker",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "ALLOWED_TRANSITIONS",
    "AccessDenied",
    "AgentScope",
    "AnyPhaseScope",
    "AsyncInvestigationRun",
    "AsyncPhaseRun",
    "AsyncPhaseScope",
    "Backend",
    "BackendUnavailable",
    "ConfigurationError",
    "Dispatcher",
    "Durability",
    "Effect",
    "Estimate",
    "EventType",
    "Executed",
    "ExecutingDispatcher",
    "Hearing",
    "Id",
    "InvalidArgument",
    "InvalidStateTransition",
    "Investigation",
    "InvestigationBusy",
    "InvestigationCancelled",
    "InvestigationContext",
    "InvestigationError",
    "InvestigationEvent",
    "InvestigationFinished",
    "InvestigationInterrupt",
    "InvestigationNotFound",
    "InvestigationPaused",
    "InvestigationPhase",
    "InvestigationProgress",
    "InvestigationRun",
    "InvestigationSDK",
    "InvestigationScope",
    "InvestigationSnapshot",
    "InvestigationState",
    "InvestigationStateService",
    "InvestigationTimeout",
    "InvestigationUnfinished",
    "InvestigationWebSocketManager",
    "LargePayload",
    "LeaseLost",
    "MetricsReport",
    "NotRecorded",
    "Page",
    "PayloadTooLarge",
    "PhaseError",
    "PhasePlan",
    "PhaseRun",
    "PhaseScope",
    "PhaseState",
    "Principal",
    "PrincipalSDK",
    "Problem",
    "ProgressTracker",
    "Readiness",
    "RecordUnreadable",
    "Resolution",
    "ResumeDivergence",
    "ResumePreview",
    "ResumeReport",
    "ResumedTool",
    "RowProblem",
    "RowsReport",
    "SchemaMismatch",
    "SyncInvestigationSDK",
    "ToolCall",
    "ToolExecution",
    "ToolState",
    "ToolTotals",
    "UnknownOutcome",
    "Usage",
    "VerificationReport",
    "VersionConflict",
    "Worker",
    "WorkerStopped",
    "agent",
    "current_investigation",
    "current_tool",
    "phase",
    "propagate",
    "tool",
]


def __getattr__(name: str) -> Any:
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
