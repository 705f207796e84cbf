"""Data checks of loads: a file, a CRM's table read whole, and the records as they are published."""
