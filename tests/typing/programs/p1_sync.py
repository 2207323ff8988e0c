"""An existing synchronous script, six lines added (marked +)."""

import sys

from investigation_sdk import InvestigationSDK, tool  # +

sdk = InvestigationSDK("sqlite:///fraud.db")  # +


@tool  # +
def lookup_account(account_id: str) -> dict[str, str]:
    return {"id": account_id, "country": "NL"}


@tool(summary=lambda r: f"risk {r:.2f}")  # +
def score(account: dict[str, str]) -> float:
    return 0.91


def main(account_id: str) -> float:
    with sdk.investigation(f"account {account_id} taken over", key=f"ato-{account_id}") as inv:  # +
        if inv.finished:
            return float(inv.result)
        with inv.phase("triage"):  # +
            risk = score(lookup_account(account_id))
        inv.result = risk
    return risk  # type checkers must know the `with` does not swallow: __exit__ -> None


if __name__ == "__main__":
    print(main(sys.argv[1]))  # noqa: T201
