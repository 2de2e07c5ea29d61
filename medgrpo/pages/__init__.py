"""HTML pages of one file: markup, escaping, colours, shared by all reports."""
