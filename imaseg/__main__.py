"""`python -m imaseg`."""

from imaseg.cli.main import run

if __name__ == "__main__":
    run()
