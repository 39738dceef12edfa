"""`python -m dynapoint` is the command line too."""

import sys

from dynapoint.cli import main

sys.exit(main())
