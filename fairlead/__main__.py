"""`python -m fairlead` is the same program as the `fairlead` command."""

import sys

from fairlead.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
