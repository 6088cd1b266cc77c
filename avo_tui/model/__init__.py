"""What the control room shows, as plain data: no Textual here, so the command line and tests use it too."""
