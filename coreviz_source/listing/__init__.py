"""The list of a dataset's items, read page by page and proven to be complete, or reported not to be."""
