"""``python -m pipeline`` is ``pipeline``."""

from pipeline.cli import main

if __name__ == "__main__":  # the processes of a comparison import this module again
    main()
