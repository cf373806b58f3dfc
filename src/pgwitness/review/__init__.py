"""What a person asks of the record: list, show, replay, export. Plain functions over the index and the
tape."""
