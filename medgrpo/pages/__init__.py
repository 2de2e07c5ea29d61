"""HTML pages of one file: markup, escaping, tables, pictures, colours, shared by all reports."""
