"""Which key seals which stored secret, and sealing anew by another; ciphertext in, ciphertext out."""

from collections.abc import Callable, Mapping

from provisioner.store.database import Database

BY_KEY = """
SELECT key_id, count(*) AS secrets FROM secret GROUP BY key_id ORDER BY key_id"""

OLD = """
SELECT id, ciphertext FROM secret WHERE key_id <> %(key)s AND id > %(after)s ORDER BY id LIMIT %(limit)s
   FOR UPDATE"""

SEALED = """
UPDATE secret SET ciphertext = %(ciphertext)s, key_id = %(key)s WHERE id = %(id)s"""

BATCH = 100  #: secrets a commit


class KeysStore:
    """Satisfies `ports.Keys`."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._db = database

    def by_key(self) -> Mapping[str, int]:
        """Count the stored secrets by the id of the key that sealed each."""
        return {row["key_id"]: row["secrets"] for row in self._db.rows(BY_KEY)}

    def reseal(self, key: str, again: Callable[[bytes], tuple[bytes, str]], after: int) -> tuple[int, int | None]:
        """Seal the next few that *key* did not seal anew, in one commit; gives how many, and where to go on."""
        with self._db.transaction() as session:
            found = session.rows(OLD, key=key, after=after, limit=BATCH)
            for row in found:
                ciphertext, sealed_by = again(bytes(row["ciphertext"]))
                session.rows(SEALED, id=row["id"], ciphertext=ciphertext, key=sealed_by)
        return len(found), found[-1]["id"] if found else None
