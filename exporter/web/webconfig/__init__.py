"""`--web.config.file`: TLS, client certificates, basic authentication and headers as in exporter-toolkit.

`model` has the keys, `loader` and `context` turn a file into a `WebConfig`, `WebConfigReloader` rereads changed files,
and `AccessControl` applies the configuration in `WebServer` and `WebApp`.
"""
