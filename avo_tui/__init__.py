"""The control room and the command line. Reads a run's journal, writes only commands."""
