"""The prompts that ship: one file each, which ai.prompt reads."""
