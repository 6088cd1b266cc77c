"""The commands of `avo`, a module for each purpose. A command takes its arguments, prints, returns an exit code."""
