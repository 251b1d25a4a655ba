"""Programs of one node, beside Ray."""
