"""The command `musicgen`: one file per subcommand."""
