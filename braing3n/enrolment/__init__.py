"""How a hospital joins a consortium: small signed files that people mail, and words that they compare.

No network is used here. The server's side is in `server.enrolling`, and a site's in
`client.network_folder`.
"""
