"""`python -m tinyseg` is the same as `tinyseg`."""
import sys

from .cli import main

sys.exit(main())
