"""Ray Serve deployments: the only room, besides app.py, that imports ray."""
