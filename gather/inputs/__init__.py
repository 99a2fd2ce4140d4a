"""What people bring, read into an AnnData: one module a kind of file. The readers are those of the field."""
