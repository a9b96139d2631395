"""Wire models that two services share; nothing else lives here."""
