"""`python -m zoo` is the command `interpretable-zoo`; in a notebook, `%run -m zoo`."""

from zoo.run.main import main

if __name__ == "__main__":
    main()
