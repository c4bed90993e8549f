"""What is answered: representations, streams, problems (RFC 9110, RFC 9457)."""
