"""PostgreSQL's protocol as bytes and values: no sockets, no clocks, no session state."""
