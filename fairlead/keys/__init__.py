"""The keys room: Ed25519 key files, SSHSIG signatures, and lists of who may sign what.

Formats are OpenSSH's, so that everything made here can be checked with `ssh-keygen -Y verify`, and a
person needs no Fairlead to doubt us.
"""
