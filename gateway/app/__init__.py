"""What transcoding cannot carry: HTTP with pages and forms. It knows no SQL and keeps nothing."""
