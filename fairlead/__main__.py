"""`python -m fairlead` is the `fairlead` command in a process of its own: no daemon answers it."""

from fairlead.cli import console

if __name__ == "__main__":
    console(daemon=False)
