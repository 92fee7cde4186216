"""``python -m pipeline`` is ``pipeline``."""

from pipeline.cli.app import main

if __name__ == "__main__":  # the processes of a comparison import this module again
    main()
