"""The warehouse: what each kind of it can do, what is stored there, and who may write to it."""
