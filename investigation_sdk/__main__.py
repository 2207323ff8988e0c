"""``python -m investigation_sdk`` is the command ``investigate``."""

from investigation_sdk.cli import main

main()
