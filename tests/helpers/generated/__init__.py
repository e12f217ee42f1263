"""Parts of which generated runs are put together: each table has, by name, what makes one; its first entry is plain."""
