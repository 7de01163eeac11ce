"""`python -m difftalk` is `difftalk`."""

from difftalk.cli import main

if __name__ == "__main__":
    main()
