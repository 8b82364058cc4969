"""Settings of the simulated data centre: how long things take and how the panel is set up."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from provisioner.simulators.chance import draw

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True)
class Span:
    """How long something takes, in seconds of a real data centre (dcimanager5.md 6.3)."""

    low: float
    high: float
    tail: float
    tail_rate: float = 0.01
    floor: float = 0.0  #: never shorter than this in the world, whatever the speed


#: What is not set by hand is drawn from here and divided by the speed.
SPANS = {
    "call": Span(0.05, 0.5, 60.0, 0.001),  #: any call, when latency is real
    "list_row": Span(0.001, 0.003, 0.01),  #: more for each row of a list, when latency is real
    "power": Span(5, 40, 600),  #: a power change is seen
    "boot": Span(20, 90, 300),  #: powered or installed, until the host answers
    "enable": Span(1, 10, 45),  #: flag `disabled` changes
    "link_settle": Span(3, 15, 100),
    "install_visible": Span(1, 20, 60),  #: flag `install_in_progress` appears
    "install": Span(480, 1500, 7200, floor=1.0),
    "install_windows": Span(1500, 3600, 7200, floor=1.0),
    "diag": Span(300, 900, 7200, floor=1.0),
    "cancel": Span(1, 10, 60),
    "autoshutdown": Span(60, 300, 600),  #: a free server is switched off
    "flap": Span(10, 20, 20, floor=0.2),  #: half a turn of a reboot loop
}


@dataclass(slots=True)
class Settings:
    """Everything that can be set while the world runs; see the README for what each means."""

    speed: float = 1.0  #: durations that are not set by hand are divided by it
    latency: str = "none"  #: none: calls answer at once; real: see SPANS["call"]
    durations: dict[str, float | list[float]] = field(default_factory=dict)
    session_idle: float = 3600.0  #: world seconds until a session is forgotten
    free_autoshutdown: bool = True  #: AllowFreeServersAutoshutdown
    diag_on_release: bool = False  #: diagnostics when a server loses its owner
    diag_hwproblem_rate: float = 0.0  #: how often they find something
    password_min: int = 8  #: shorter ones are too weak
    name_max: int = 16  #: longest name of a user
    edit_missing: str = "error"  #: mac, name, type left out of server.edit: error or keep
    notes_missing: str = "empty"  #: notes left out of server.edit: empty or keep
    install_needs_ports: bool = True  #: an install fails when every switch port is off
    install_flag_observations: int = 0  #: lists that must show the flag before it falls
    disable_switches_ports: bool = True  #: enable and disable switch the ports, too
    disabled_refuses_power: bool = False  #: power calls on a disabled server are refused
    main_address_delete: str = "refuse"  #: refuse or allow
    busy_type: str = "locked"  #: error type of "another operation runs"
    busy_object: str = "server"
    exhausted_type: str = "limit"  #: error type of "no free address"
    exhausted_object: str = "ip"
    json_single_object: bool = False  #: a list of one row is an object in JSON, not an array
    operations_top_level_error: bool = False  #: JSON errors of server.operations without `doc`
    token_pattern: str = r"(?:order|job|claim|token|attempt)[-_:=#]\s*[\w.-]+"  # noqa: S105 - it finds a claim in notes

    def duration(self, name: str, seed: int, *who: object) -> tuple[float, bool]:
        """Return how long *name* takes this time, and whether the speed had a say in it."""
        fixed = self.durations.get(name)
        if isinstance(fixed, list):
            low, high = fixed
            return low + (high - low) * draw(seed, name, *who), False
        if fixed is not None:
            return fixed, False
        span = SPANS[name]
        at = draw(seed, name, *who)
        if draw(seed, name, "tail", *who) < span.tail_rate:
            seconds = span.high + (span.tail - span.high) * at
        else:
            seconds = span.low + (span.high - span.low) * at
        return max(seconds / self.speed, span.floor), True

    def update(self, changes: Mapping[str, object]) -> None:
        """
        Take *changes*: settings by name, durations by name (number, [low, high] or null = default).

        Raises:
            ValueError: an unknown name or a value of the wrong shape; nothing was changed.
        """
        flat = dict(changes)
        durations = flat.pop("durations", {})
        if not isinstance(durations, Mapping):
            message = "durations: an object of names and seconds is expected"
            raise ValueError(message)  # noqa: TRY004 - one error for every ill setting
        flat.update(durations)
        known = {item.name for item in fields(self)} - {"durations"}
        new_durations = dict(self.durations)
        values: JsonObject = {}
        for name, value in flat.items():
            if name in SPANS:
                _set_duration(new_durations, name, value)
            elif name in known:
                values[name] = _checked(name, value, getattr(self, name))
            else:
                message = f"there is no setting {name!r}; known: {sorted(known | set(SPANS))}"
                raise ValueError(message)
        self.durations = new_durations
        for name, value in values.items():
            setattr(self, name, value)

    def as_json(self) -> JsonObject:
        """Return all settings; `durations` holds only those set by hand."""
        return asdict(self)


_CHOICES = {
    "latency": ("none", "real"),
    "edit_missing": ("error", "keep"),
    "notes_missing": ("empty", "keep"),
    "main_address_delete": ("refuse", "allow"),
}


def _set_duration(durations: dict[str, float | list[float]], name: str, value: object) -> None:
    if value is None:
        durations.pop(name, None)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        durations[name] = float(value)
    elif isinstance(value, list | tuple) and len(value) == 2:  # noqa: PLR2004 - low and high
        durations[name] = [float(value[0]), float(value[1])]
    else:
        message = f"{name}: seconds, [low, high] or null expected, not {value!r}"
        raise ValueError(message)


def _checked(name: str, value: object, old: object) -> object:
    if name in _CHOICES and value not in _CHOICES[name]:
        message = f"{name}: one of {', '.join(_CHOICES[name])} expected, not {value!r}"
        raise ValueError(message)
    if isinstance(old, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(old, int | float) and not isinstance(value, bool):
        if isinstance(value, int | float) and (value > 0 or name != "speed"):
            return type(old)(value)
    elif isinstance(old, str) and isinstance(value, str):
        return value
    message = f"{name}: {value!r} is no value for it"
    raise ValueError(message)
