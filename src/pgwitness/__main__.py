"""``python -m pgwitness``."""

from pgwitness.cli import main

if __name__ == "__main__":
    main()
