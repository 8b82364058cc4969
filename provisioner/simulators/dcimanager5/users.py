"""Functions of DCImanager 5 about users and logins.

Source: dcimanager5.md 1.3 and 3.1 rows 1, 5, 6, 25.
"""

from provisioner.simulators.dcimanager5.call import CLIENT, Answer, Call, done, function, page
from provisioner.simulators.dcimanager5.tree import choices, leaf, leaves, row
from provisioner.simulators.dcimanager5.words import PanelError
from provisioner.simulators.model import ADMIN_LEVEL, ROOT_LEVEL, USER_LEVEL, User

_LEVELS = {"lvUser": USER_LEVEL, "lvAdmin": ADMIN_LEVEL, "16": USER_LEVEL, "29": ADMIN_LEVEL}
_NAMES = {USER_LEVEL: "lvUser", ADMIN_LEVEL: "lvAdmin", ROOT_LEVEL: "lvRoot"}
_KEY_LENGTH = 16


@function("auth", level=0, public=True)
def log_in(call: Call) -> Answer:
    name, key = call.get("username"), call.get("key")
    user = call.world.user_named(name)
    if key:
        if user is None or user.revoked or not call.sessions.use_key(user.id, key):
            raise PanelError("auth", "badkey")
    else:
        user = call.world.admits(name, call.get("password"))
        if user is None:
            raise PanelError("auth", "badpassword")
    session = call.sessions.start(user.id, call.peer, call.world.now())
    return [leaf("auth", session, id=session, level=str(user.level))]


@function("session.newkey", acts=True)
def add_key(call: Call) -> Answer:
    name, key = call.need("username"), call.get("key")
    if len(key) < _KEY_LENGTH:
        raise PanelError("value", "key")
    user = call.world.user_named(name)
    if user is None:
        raise PanelError("missed", "user", name)
    if user.level > (call.user.level if call.user else 0):
        raise PanelError("access", "user", name)
    call.sessions.add_key(user.id, key)
    call.world.touch()
    return done()


@function("user")
def list_users(call: Call) -> Answer:
    users = call.world.users.values()
    return page(call, [row({"id": user.id, "name": user.name, "level": user.level}) for user in users])


@function("user.edit", form=True)
def edit_user(call: Call) -> Answer:
    user = call.world.user(call.get("elid")) if call.get("elid") else None
    if not call.submitted:
        return _form(user)
    level = _level(call, user)
    if "confirm" in call.params and call.get("confirm") != call.get("passwd"):
        raise PanelError("value", "confirm")
    if user is None:
        user = call.world.add_user(call.get("name"), call.get("passwd"), level)
        return done(leaf("id", user.id))
    _change(call, user, level)
    return done(leaf("id", user.id))


@function("usrparam", level=CLIENT, form=True)
def edit_own_settings(call: Call) -> Answer:
    if call.user is None:
        raise PanelError("access", "usrparam")
    if not call.submitted:
        return leaves({"elid": call.user.id, "name": call.user.name})
    if "confirm" in call.params and call.get("confirm") != call.get("passwd"):
        raise PanelError("value", "confirm")
    if call.get("passwd"):
        call.world.set_password(call.world.user(call.user.id), call.get("passwd"))
    return done()


def _form(user: User | None) -> Answer:
    levels = choices("level", {"lvUser": "User", "lvAdmin": "Administrator"})
    if user is None:
        return [*leaves({"name": "", "level": "lvUser", "passwd": "", "confirm": ""}), levels]
    values = {"elid": user.id, "id": user.id, "name": user.name, "level": _NAMES.get(user.level, str(user.level))}
    return [*leaves(values), levels]


def _level(call: Call, user: User | None) -> int:
    text = call.get("level")
    if not text:
        return user.level if user else USER_LEVEL
    if user is not None and text in (_NAMES.get(user.level), str(user.level)):
        return user.level
    if text not in _LEVELS:
        raise PanelError("value", "level", text)
    return _LEVELS[text]


def _change(call: Call, user: User, level: int) -> None:
    """Change a user; an administrator has no hand on those above him."""
    if call.user is None or user.level > call.user.level:
        raise PanelError("access", "user", user.name)
    name = call.get("name") or user.name
    if name != user.name:
        call.world.check_user_name(name)
        if call.world.user_named(name):
            raise PanelError("exists", "user", name)
    if call.get("passwd"):
        call.world.set_password(user, call.get("passwd"))
    user.name, user.level = name, level
    call.world.touch()
