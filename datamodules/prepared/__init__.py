"""The ground floor of all prepared data: engine, folders, manifests, vocabularies."""
