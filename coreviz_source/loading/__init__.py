"""From rows to dlt: resources, files, packages, and what keeps a load and its comparison on the same tables."""
