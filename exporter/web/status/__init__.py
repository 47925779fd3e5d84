"""The status page: its data, the verdict on the data, and the HTML and JSON forms."""
