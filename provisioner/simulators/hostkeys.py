"""SSH host keys of simulated servers: each follows from seed, server and number of its install."""

import hashlib
from functools import lru_cache

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@lru_cache(maxsize=4096)
def host_key(seed: int, name: str) -> asyncssh.SSHKey:
    """Return the ed25519 key *name*; the same seed and name give the same key."""
    secret = hashlib.sha256(f"simulated host key|{seed}|{name}".encode()).digest()
    private = Ed25519PrivateKey.from_private_bytes(secret)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return asyncssh.import_private_key(pem)


@lru_cache(maxsize=4096)
def fingerprint(seed: int, name: str) -> str:
    """Return the fingerprint as `ssh-keygen -l` shows it: `SHA256:…`."""
    return host_key(seed, name).get_fingerprint()
