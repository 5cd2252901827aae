"""What people do on the PC: files of confidential places, logons, applications for permits, notices."""

from __future__ import annotations

from typing import Annotated

import msgspec

from protocol.catalogue.base import ActorEvent, Event, Name, Path, Priority, field


class FileAccessed(ActorEvent, frozen=True, kw_only=True, tag="file.accessed"):
    """A file of a confidential place was opened, changed, moved or removed (Nagoya 56)."""

    priority = Priority.NOTABLE
    ocsf = 1001

    path: Annotated[Path, field("the file", personal=True)] = ""
    access: Annotated[Name, field("read | write | create | rename | delete")] = ""
    place: Annotated[Name, field("confidential place, as the policy names it")] = ""
    count: Annotated[int, field("equal accesses folded into this event")] = 1


class _LogonEvent(Event, frozen=True, kw_only=True, omit_defaults=True):
    user: Annotated[Name, field("login name", personal=True)] = ""
    uid: Annotated[int, field("numeric user id; -1 = not known")] = -1
    service: Annotated[Name, field("sshd | login | sudo | su | display manager …")] = ""
    terminal: Annotated[Name, field("terminal or seat")] = ""
    session: Annotated[Name, field("session id, the same in all events of one session")] = ""
    remote: Annotated[bool, field("from another machine")] = False
    remote_ip: Annotated[Name, field("address it came from")] = ""
    target_user: Annotated[Name, field("account that was changed to (sudo, su)", personal=True)] = ""


class LogonSucceeded(_LogonEvent, frozen=True, kw_only=True, tag="logon.succeeded"):
    """Somebody logged on, or changed to another account."""

    priority = Priority.NOTABLE
    ocsf = 3002


class LogonFailed(_LogonEvent, frozen=True, kw_only=True, tag="logon.failed"):
    """An attempt to log on failed."""

    priority = Priority.NOTABLE
    ocsf = 3002

    reason: Annotated[Name, field("as the service says it: bad_password | unknown_user | locked | other")] = (
        ""
    )
    count: Annotated[int, field("equal attempts folded into this event")] = 1


class LogonEnded(_LogonEvent, frozen=True, kw_only=True, tag="logon.ended"):
    """A session ended."""

    ocsf = 3002

    duration_s: Annotated[int, field("how long it was; -1 = not known", unit="s")] = -1


class PermitRequested(Event, frozen=True, kw_only=True, tag="permit.requested"):
    """Somebody at the PC applied for a permit. The PC vouches for who (socket peer), not for what is written."""

    priority = Priority.CRITICAL
    ocsf = 3005

    request: Annotated[Name, field("id the PC gave it; the same id is the same application")] = ""
    user: Annotated[Name, field("login name of the applicant", personal=True)] = ""
    wanted: Annotated[Name, field("kind of permit, see PermitKind")] = ""
    subject: Annotated[
        dict[str, str], field("what it is for: fields of a permit's subject, as the refused event named them")
    ] = msgspec.field(default_factory=dict)
    purpose: Annotated[Path, field("why it is needed, in the applicant's words", personal=True)] = ""
    days: Annotated[int, field("for how long", unit="days")] = 0
    refused: Annotated[Name, field("rule that had refused it")] = ""


class NoticeShown(Event, frozen=True, kw_only=True, tag="notice.shown"):
    """A notice about a refusal was put before the user (or could only be written to the log)."""

    ocsf = 2004

    user: Annotated[Name, field("login name", personal=True)] = ""
    channel: Annotated[Name, field("desktop | terminal | log")] = ""
    about: Annotated[Name, field("kind of the event it is about")] = ""
    rule: Annotated[Name, field("rule that refused")] = ""
    acknowledged: Annotated[bool, field("the user closed it as read")] = False
    count: Annotated[int, field("refusals folded into it")] = 1
