"""``python -m sslkuramoto``: the command, for an interpreter whose scripts are not on the path."""

from sslkuramoto.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
