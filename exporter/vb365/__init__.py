"""Client of the VB365 REST API. Independent of Prometheus."""
