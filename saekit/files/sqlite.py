"""An SQLite file that several programs write at once: how it is opened, and its errors as sentences.

Every use opens its own connection, so that threads, processes and forks need no care. Writers wait for each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

WAIT = 30.0
"""seconds to wait for another program's write"""
_REFUSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


class SqliteFile:
    """Transactions on one file. It is made by the first write; until then there is nothing to read.

    holds:   what is kept there, in the plural, such as "labels", for sentences.
    tables:  the statements that make its tables where they are not there.
    version: of these tables; a file of a later one is refused.

    Both raise PermissionError where nothing can be written (or read), TimeoutError when another program holds the file
    for longer than 30 seconds, and ValueError for a file that is damaged or of a later version.
    """

    def __init__(self, path: Path, holds: str, tables: Sequence[str], version: int = 1) -> None:
        self.path, self.holds, self.version = path, holds, version
        self._tables = (*tables, f"PRAGMA user_version = {version}")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is kept, or after an error nothing. Waits for other writers."""
        with (
            self._errors("saved in"),
            closing(sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)) as connection,
        ):
            # Readers need not wait in WAL mode; while another process turns it on, the old mode is as safe.
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                with suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._check_version(connection)
                for statement in self._tables:
                    connection.execute(statement)
                yield connection
            except BaseException:
                if connection.in_transaction:  # SQLite itself ends it when the disk is full
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that only reads; None while there is no file, or one that nothing was written to yet."""
        if not self.path.is_file():
            yield None
            return
        with self._errors("read from"), closing(self._open_to_read()) as connection:
            yield connection if self._check_version(connection) else None

    def _open_to_read(self) -> sqlite3.Connection:
        address = self.path.absolute().as_uri() + "?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None)
        try:
            connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            # Even a reader of a WAL file makes a file beside it. Where it cannot, nobody writes: read as it stands,
            # unless something written is still in the file beside it.
            journal = self.path.with_name(self.path.name + "-wal")
            if _code(error) not in _REFUSED or (journal.exists() and journal.stat().st_size):
                raise
            connection = sqlite3.connect(address + "&immutable=1", uri=True, isolation_level=None)
        return connection

    def _check_version(self, connection: sqlite3.Connection) -> int:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > self.version:
            raise ValueError(
                f"{self.path} was written by a later saekit ({self.holds} of version {version}, this one knows "
                f"{self.version}): update saekit."
            )
        return version

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """SQLite's errors as sentences that name the file."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise TimeoutError(f"another program has held {self.path} for {WAIT:.0f} s: close it.") from error
            if _code(error) in _REFUSED:
                raise PermissionError(
                    f"{self.holds} cannot be {doing} {self.path}: the file or its folder is missing, read-only or not "
                    "yours; copy the store to a folder of your own."
                ) from error
            raise OSError(f"{self.path}: {error}.") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self.path} is not a file of {self.holds}, or is damaged ({error}).") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary error code; its extended codes have it in their lowest byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
