"""The same application on any store: in memory in its tests, on PostgreSQL or MongoDB in production.

    python examples/account_review.py 42                                                  # SQLite, in this folder
    investigate db upgrade --db postgresql://me@db/cases                                  # once
    INVESTIGATION_URL=postgresql://me@db/cases python examples/account_review.py 42

Nothing in it names a store: the SDK takes the environment's. `tests/examples/test_account_review.py` runs it in memory,
and the same test on the servers.
Exit status: 0 the account is in order; 1 it was frozen; 2 it could not be done.
"""

import sys

from investigation_sdk import InvestigationError, InvestigationSDK, tool

sdk = InvestigationSDK()
"""The application's. It connects when it is first used, to what INVESTIGATION_URL names."""

LOGINS = {"41": ["NL", "NL"], "42": ["NL", "NL", "KP"]}
"""Stands in for another service."""


@tool(effect="read")
def logins(account: str) -> list[str]:
    """Countries from which somebody logged in lately."""
    return LOGINS.get(account, [])


@tool(effect="unsafe")
def freeze(account: str) -> str:
    """Stands in for what cannot be undone."""
    return f"{account} is frozen"


def review(account: str) -> bool:
    """Investigate an account; whether it was frozen. Done once for each account, however often it is asked for."""
    with sdk.investigation(f"account {account}", investigation_type="account_review", key=account) as run:
        if not run.finished:
            with run.phase("look"):
                countries = set(logins(account))
            if len(countries) > 1:
                with run.phase("act"):
                    freeze(account)
            run.result = {"countries": sorted(countries), "frozen": len(countries) > 1}
        frozen: bool = run.result["frozen"]
        return frozen


def main(arguments: list[str]) -> int:
    """The command."""
    if len(arguments) != 1:
        print("usage: account_review.py ACCOUNT", file=sys.stderr)
        return 2
    try:
        with sdk:
            frozen = review(arguments[0])
    except InvestigationError as error:
        print(f"account_review.py: {error}", file=sys.stderr)
        return 2
    print(f"account {arguments[0]}: {'frozen' if frozen else 'in order'}")
    return int(frozen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
