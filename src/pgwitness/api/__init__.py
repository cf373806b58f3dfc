"""Review and administration over HTTP: the application, and the client that the commands use.

``app.create_app`` and ``services`` are the server's side, ``client.connect`` the other. Nothing is
imported here, so that the client does not pay for the server.
"""
