"""HTTP exchanges with a VB365 server: sessions, TLS, deadlines, bodies and errors."""
