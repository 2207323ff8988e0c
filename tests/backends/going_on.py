"""An agent that goes on while its database server is away, whatever the database is."""

from typing import Any

from investigation_sdk import InvestigationSDK, tool
from investigation_sdk.testing.proxy import FaultProxy

IMPATIENT: dict[str, Any] = {"command_timeout": 1.0, "connect_timeout": 1.0}


@tool
def lookup(n: int) -> int:
    return 2 * n


def goes_on_while_its_server_is_away(url: str, proxy: FaultProxy) -> None:
    """`url` leads through `proxy`."""
    with InvestigationSDK(url, backend_options=IMPATIENT, on_store_failure="continue") as sdk:
        sdk._recorder._writer._patience = 1.5  # pyright: ignore[reportPrivateUsage]
        with sdk.investigation("a hole") as run:
            assert lookup(0) == 0
            proxy.black_hole()
            for n in range(1, 20):
                assert lookup(n) == 2 * n
            proxy.cut_all()
            proxy.restore()
            for n in range(20, 30):
                assert lookup(n) == 2 * n
        assert sdk.sync.flush(30) == 0
        assert [call.output_result for call in sdk.sync.tools(run.id)] == [2 * n for n in range(30)]
        assert sdk.sync.get(run.id).status == "completed"
        assert sdk.sync.verify(run.id).ok
