"""Starting a Serve configuration on this machine: checks, process, and reasons why it will not run."""
