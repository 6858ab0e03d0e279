"""When the sun rises and sets, for schedules.

Celery's own `solar` needs a library in C; to fire a task, NOAA's equations are exact enough: within
10 s of that library between the polar circles. Where an event does not happen for a while, the next
one counts.

Source: NOAA Global Monitoring Laboratory, "Solar Calculation Details" (after Meeus, Astronomical
Algorithms).
"""

from datetime import UTC, date, datetime, timedelta
from math import acos, asin, cos, degrees, radians, sin, tan

_NOON = "solar_noon"
_RISING, _SETTING = -1, 1
_EVENTS = {
    "dawn_astronomical": (_RISING, 108.0),
    "dawn_nautical": (_RISING, 102.0),
    "dawn_civil": (_RISING, 96.0),
    "sunrise": (_RISING, 90.833),
    "sunset": (_SETTING, 90.833),
    "dusk_civil": (_SETTING, 96.0),
    "dusk_nautical": (_SETTING, 102.0),
    "dusk_astronomical": (_SETTING, 108.0),
}
"""Event → whether the sun rises or sets, and its distance from the zenith; degrees."""
EVENTS = (
    "dawn_astronomical", "dawn_nautical", "dawn_civil", "sunrise", _NOON, "sunset",
    "dusk_civil", "dusk_nautical", "dusk_astronomical",
)  # fmt: skip
"""Those of `celery.schedules.solar`."""
_HORIZON_DAYS = 366
_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


def next_event(event: str, latitude: float, longitude: float, after: float) -> float | None:
    """Return when an event happens next, unix seconds; None: not within a year.

    Args:
        event: One of `EVENTS`.
        latitude: Degrees, north is positive.
        longitude: Degrees, east is positive.
        after: Unix seconds.

    Raises:
        ValueError: There is no such event or place.
    """
    if event not in EVENTS:
        raise ValueError(f"no event of the sun is called {event!r}")
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise ValueError(f"no place on Earth is at {latitude}, {longitude}")
    start = datetime.fromtimestamp(after, UTC)
    day = start.date() - timedelta(days=1)
    for _ in range(_HORIZON_DAYS + 2):
        at = _event_of(event, latitude, longitude, day)
        if at is not None and at > start:
            return at.timestamp()
        day += timedelta(days=1)
    return None


def _event_of(event: str, latitude: float, longitude: float, day: date) -> datetime | None:
    """Compute an event of a day, counted from noon at that longitude; None: it does not happen."""
    mean_noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - timedelta(
        hours=longitude / 15
    )
    at = mean_noon
    for _ in range(4):  # the sun moves while we compute
        declination, equation_min = _sun(at)
        noon = mean_noon - timedelta(minutes=equation_min)
        if event == _NOON:
            at = noon
            continue
        direction, zenith = _EVENTS[event]
        place = radians(latitude)
        cosine = cos(radians(zenith)) / (cos(place) * cos(declination)) - tan(place) * tan(
            declination
        )
        if not -1 <= cosine <= 1:
            return None
        at = noon + direction * timedelta(minutes=4 * degrees(acos(cosine)))
    return at


def _sun(at: datetime) -> tuple[float, float]:
    """Compute the sun's declination (radians) and the equation of time (minutes)."""
    century = (at - _J2000).total_seconds() / 86_400 / 36_525
    mean_longitude = radians((280.46646 + century * (36_000.76983 + century * 0.0003032)) % 360)
    anomaly = radians(357.52911 + century * (35_999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    center = (
        sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + sin(3 * anomaly) * 0.000289
    )
    node = radians(125.04 - 1934.136 * century)
    apparent = radians(degrees(mean_longitude) + center - 0.00569 - 0.00478 * sin(node))
    seconds = 21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))
    obliquity = radians(23 + (26 + seconds / 60) / 60 + 0.00256 * cos(node))
    declination = asin(sin(obliquity) * sin(apparent))
    y = tan(obliquity / 2) ** 2
    equation = (
        y * sin(2 * mean_longitude)
        - 2 * eccentricity * sin(anomaly)
        + 4 * eccentricity * y * sin(anomaly) * cos(2 * mean_longitude)
        - 0.5 * y * y * sin(4 * mean_longitude)
        - 1.25 * eccentricity * eccentricity * sin(2 * anomaly)
    )
    return declination, 4 * degrees(equation)
