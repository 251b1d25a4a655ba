"""Detection of watermarks in files."""
