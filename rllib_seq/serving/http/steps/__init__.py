"""`POST /act`: steps of sessions over HTTP, for exports of any environment."""
