"""``python -m investigation_sdk.testing URL`` says what a store can do. See :mod:`.report`."""

import sys

from investigation_sdk.testing.report import main

sys.exit(main(sys.argv[1:]))
