"""The facts of a run and how they are stored. Standard library only: every room may import this one."""
