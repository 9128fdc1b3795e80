"""The parts of tools/bench: running commands, the tools that are compared, crowds of commands."""
