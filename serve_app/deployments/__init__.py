"""Ray Serve deployments: the only package that imports ray."""
