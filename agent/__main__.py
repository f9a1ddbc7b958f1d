"""`python -m agent` is `fieldtap`."""

import sys

from agent.cli import main

sys.exit(main())
