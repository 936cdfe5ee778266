"""Pages for people: `docs`, the interface, and `live`, what the server does now."""
