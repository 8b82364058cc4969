"""A real Request Tracker 5, from the system's packages, on SQLite and loopback; dies with us."""

from __future__ import annotations

import http.client
import quopri
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.services.servers import Server, program

PACKAGES = "request-tracker5 rt5-db-sqlite msmtp-mta"
QUEUE, READ_ONLY, HIDDEN = 'Hands, Süd & "DC"', "read only", "hidden"

CONFIG = """
Set($rtname, 'example.net');
Set($Organization, 'example.net');
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{home}/rt.sqlite');
Set($WebDomain, '127.0.0.1');
Set($WebPort, {port});
Set($WebPath, '');
Set($MailCommand, 'sendmailpipe');
Set($SendmailPath, '/bin/true');
Set($LogToSyslog, undef);
Set($LogToSTDERR, 'warning');
$RT::VarPath = $RT::MasonDataDir = $RT::MasonSessionDir = '{home}';
1;
"""

#: a user with rights in one queue, who sees a second and not a third; prints his token
SEED = """
use strict; use warnings; use utf8;
use lib '/usr/share/request-tracker5/lib';
use RT -init;
sub made { my ($class, %with) = @_;
           my $one = "RT::$class"->new(RT->SystemUser);
           my ($ok, $said, @more) = $one->Create(%with); die $said unless $ok;
           return ($one, @more) }
my ($user) = made('User', Name => 'provisioner', Privileged => 1);
my ($queue) = made('Queue', Name => 'Hands, Süd & "DC"');
my ($shown) = made('Queue', Name => 'read only');
made('Queue', Name => 'hidden');
sub grant { my ($right, $where) = @_;
            my ($ok, $said) = $user->PrincipalObj->GrantRight(Right => $right, Object => $where); die $said unless $ok }
grant($_, $queue) for qw(SeeQueue ShowTicket ShowTicketComments CreateTicket CommentOnTicket ModifyTicket);
grant('SeeQueue', $shown);
my ($token, $text) = made('AuthToken', Owner => $user->id, Description => 'provisioner');
print "token: $text\\n";
"""


class RequestTracker(Server):
    """RT with its own small HTTP server, one request at a time."""

    name = "rt"

    def __init__(self, folder: Path) -> None:
        self.setup = program("rt-setup-database-5", PACKAGES, Path("/usr/sbin"))
        self.perl = program("perl", "perl")
        super().__init__(folder)
        self.token = ""
        config, self.seed, more = self.folder / "RT_SiteConfig.pm", self.folder / "seed.pl", self.folder / "more"
        config.write_text(CONFIG.format(home=self.home, port=self.port))
        self.seed.write_text(SEED)
        more.mkdir()
        self.env = {"HOME": str(self.home), "RT_SITE_CONFIG": str(config), "RT_SITE_CONFIG_DIR": str(more)}

    def begin(self) -> None:
        """Make its database, start it; return when it answers."""
        if not self.token:
            self.run([self.setup, "--action", "init", "--skip-create"], self.env)
            said = self.run([self.perl, str(self.seed)], self.env)
            self.token = next(line.split()[1] for line in said.splitlines() if line.startswith("token: "))
        argv = [self.perl, "/usr/share/request-tracker5/libexec/rt-server", "--server", "HTTP::Server::PSGI"]
        argv += ["--host", "127.0.0.1", "--port", str(self.port)]
        self.spawn(self.name, argv, self.env, signal.SIGTERM)
        self.until_it_answers()

    def answers(self) -> bool:
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            asked.request("GET", "/REST/2.0/rt", headers={"Authorization": f"token {self.token}"})
            return asked.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            asked.close()

    def messages(self) -> list[tuple[int, str, str]]:
        """Give ticket, subject and text of all messages, oldest first, out of its own tables."""
        return [
            (int(ticket), _text(subject), _text(content, coded))
            for ticket, subject, content, coded in self._rows(MESSAGES)
        ]

    def change(self, statement: str, *values: object) -> None:
        """Change its tables, as an administrator would by its pages."""
        with closing(sqlite3.connect(self.home / "rt.sqlite", timeout=10)) as database, database:
            database.execute(statement, values)

    def _rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.home}/rt.sqlite?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(statement).fetchall()


MESSAGES = """
SELECT r.ObjectId, a.Subject, a.Content, a.ContentEncoding
  FROM Attachments a JOIN Transactions r ON r.id = a.TransactionId
 WHERE r.ObjectType = 'RT::Ticket' AND r.Type IN ('Create', 'Comment', 'Correspond')
 ORDER BY a.id"""


def _text(value: str | bytes, coded: str | None = None) -> str:
    raw = value if isinstance(value, bytes) else value.encode()
    return (quopri.decodestring(raw) if coded == "quoted-printable" else raw).decode()
