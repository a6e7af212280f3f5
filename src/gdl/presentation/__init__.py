"""Values as text, the same in the command line and the terminal UI."""
