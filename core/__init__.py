"""The native core: numbers and bytes. Knows nothing of proxies and imports nothing of scanner."""
