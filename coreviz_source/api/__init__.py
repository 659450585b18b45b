"""The CoreViz Studio API: `http` sends requests, `studio` knows the endpoints. Neither knows of warehouses or dlt."""
