"""Tasks whose process dies under them: found, isolated, ended."""
