"""Approvals as channels tell them: `telling` says who is told, `links` signs, `page` is behind a link."""
