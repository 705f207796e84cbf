"""The software-defined assets, one module each: they read, call, write and report."""
