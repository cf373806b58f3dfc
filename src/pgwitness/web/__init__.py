"""The pages: what a responder, an auditor or an administrator sees in a browser.

``app.create_site`` is the whole site: the API and the pages on the same services. A page is made on the
server by Jinja2 from what the functions of ``review`` and ``api`` answer, so pages and API never differ.
Scripts only add comfort: every page reads, and every form works, without them.
"""
