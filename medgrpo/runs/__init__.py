"""The run record: its writer, readers, health, comparison, report."""
