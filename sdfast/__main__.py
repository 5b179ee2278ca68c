"""`python -m sdfast`, which torchrun needs: the same as the command `sdfast`."""

import sys

from sdfast.commands import main

sys.exit(main())
