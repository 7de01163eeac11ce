"""`python -m difftalk` is `difftalk`."""

from difftalk.doors.cli import main

if __name__ == "__main__":
    main()
