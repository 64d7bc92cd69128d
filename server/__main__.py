"""``python -m server`` is ``klineserver``."""

from server.cli import main

if __name__ == "__main__":
    main()
