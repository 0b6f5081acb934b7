"""`python -m sweepd.cli` is the `sweep` command."""

from sweepd.cli import main

if __name__ == "__main__":
    main()
