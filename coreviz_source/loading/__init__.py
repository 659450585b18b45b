"""Where the mirror meets dlt: settings are resolved, rows become resources, packages are loaded."""
