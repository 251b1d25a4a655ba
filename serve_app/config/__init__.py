"""Configuration: the `args` of a Serve YAML file, and the file around them."""
