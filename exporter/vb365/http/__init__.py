"""One HTTP exchange with a VB365 server, bounded in time and size."""
