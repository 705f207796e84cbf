"""External CRM databases, read and never written: what changed there becomes records here."""
