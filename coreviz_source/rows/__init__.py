"""One item of the API becomes rows: `decode` reads its JSON, `build` makes arrow tables, `convert` their values."""
