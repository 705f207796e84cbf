"""Providers: one module for each that builds its LangChain chat model, imported when it is used."""
