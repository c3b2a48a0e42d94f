"""Prompts of an organization, alone or with an agent's settings, over the gateway's data plane (API §6).

`asking`: what is asked, as a chat completion; `book`: the rows and their texts; `standing`: on whose behalf;
`running`: one prompt through the plane; `frames`: the events of a stream; `api`, `endpoint`: the doors.
"""
