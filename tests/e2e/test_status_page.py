"""The status page as a browser shows it: a real Chromium, on a phone and on a wide screen, by day and by night."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from web.support import EMPTY_PAGE, FakeBackend

from exporter.polling.snapshot import ConfiguredId
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.vb365.records.restore_session import SessionResult
from exporter.web.status.page import StatusPage
from support.browser_process import Browser, Tab, running_browser
from support.exporter_harness import running_exporter, server_yaml
from support.sample_sessions import finished, running
from support.screenshots import SCREENSHOTS, Screenshot, take
from support.status_pages import (
    forgotten_session,
    page_for,
    polled_snapshot,
    random_sessions,
    serve_page,
    trouble_page,
)
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

WIDTHS = (360, 768, 1350, 1400, 1920)
UNFOLD = "document.querySelectorAll('details').forEach((one) => one.open = true)"
LONG = "x" * 500


def many_tenants() -> StatusPage:
    """A busy and a bad day: failures, missing ids, organizations that never restored anything."""
    sessions = random_sessions(900, 40, days=3.0)
    failed = [
        finished(number, organization=f"northwind-{number}.example", result=SessionResult.FAILED)
        for number in range(1, 50)
    ]
    snapshot = polled_snapshot("hq-east", [*sessions, *failed])
    organizations = tuple(f"quiet-tenant-{number}.example" for number in range(40))
    return page_for(
        replace(
            snapshot,
            activity=replace(
                snapshot.activity, organizations=(*snapshot.activity.organizations, *organizations)
            ),
            configured_ids=(
                ConfiguredId(session_id=str(UUID(int=7)), found=False, confirmed_at=48.0),
            ),
        ),
        polled_snapshot("customers-west", random_sessions(20, 4, seed=4)),
    )


def long_words() -> StatusPage:
    personal = [
        running(number, name=LONG, initiated_by=f"CONTOSO\\{LONG}", organization=LONG)
        for number in (1, 2000)
    ]
    snapshot = polled_snapshot(".".join(["h" * 63] * 2), [*random_sessions(30), *personal])
    return page_for(snapshot, info_labels=["name", "initiated_by", "client_host"])


# What operators may see, from nothing at all to too much.
PAGES: dict[str, Callable[[], StatusPage]] = {
    "no server": lambda: EMPTY_PAGE,
    "not polled yet": lambda: page_for(never_polled=["hq"]),
    "no session": lambda: page_for(polled_snapshot("hq", [])),
    "five sessions": lambda: page_for(
        polled_snapshot("hq", [*random_sessions(4), forgotten_session()])
    ),
    "trouble": trouble_page,
    "500 sessions": lambda: page_for(polled_snapshot("hq", random_sessions(500, 40))),
    "40 tenants": many_tenants,
    "long words": long_words,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A tab of its own for each test."""
    with browser.tab() as opened:
        yield opened


# Elements that reach beyond the screen; what is there for screen readers only is clipped away.
BEYOND = """
[...document.querySelectorAll("body *")]
  .filter((one) => !one.closest(".sr, .shapes, thead"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([one, box]) => box.width && (box.left < -1 || box.right > innerWidth + 1))
  .map(([one, box]) => [one.outerHTML.slice(0, 120), box.left, box.right])
"""


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_reaches_beyond_the_screen(tab: Tab, kind: str) -> None:
    with serve_page(FakeBackend(page=PAGES[kind]())) as url:
        for width in WIDTHS:
            tab.open(url, width=width)
            tab.value(UNFOLD)
            assert tab.value("innerWidth") == width
            assert tab.value("document.documentElement.scrollWidth") == width
            assert tab.value(BEYOND) == []


# The contrast of every text, and of every shape, with what is behind it; those that are too faint.
FAINT = """
(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3)
    .map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (one) => {
    const color = getComputedStyle(one).backgroundColor;
    const alpha = numbers(color)[3] ?? 1;
    if (alpha === 1) return color;
    if (alpha !== 0) throw new Error(`half transparent: ${one.outerHTML.slice(0, 80)}`);
    return one.parentElement ? behind(one.parentElement) : "rgb(255, 255, 255)";
  };
  const contrast = (one, color) => {
    const [less, more] = [light(color), light(behind(one))].sort((a, b) => a - b);
    return (more + 0.05) / (less + 0.05);
  };
  const seen = {texts: 0, shapes: 0, faint: []};
  const judge = (one, color, least, what) => {
    const ratio = contrast(one, color);
    if (ratio < least) seen.faint.push([what, color, behind(one), ratio]);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || one.localName === "title" || !one.checkVisibility()) continue;
    const style = getComputedStyle(one);
    seen.texts += 1;
    judge(one, one instanceof SVGElement ? style.fill : style.color, 4.5, one.outerHTML.slice(0, 90));
  }
  for (const one of document.querySelectorAll(".icon, .lanes g")) {
    seen.shapes += 1;
    judge(one, getComputedStyle(one).fill, 3, one.outerHTML.slice(0, 90));
  }
  return seen;
})()
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_shapes_stand_out_by_day_and_by_night(tab: Tab, scheme: str) -> None:
    lightness = []
    for kind in ("no session", "not polled yet", "five sessions", "40 tenants", "trouble"):
        with serve_page(FakeBackend(page=PAGES[kind]())) as url:
            tab.open(url, width=1920, scheme=scheme)
            tab.value(UNFOLD)
            seen = tab.value(FAINT)
            assert seen["faint"] == []
            assert seen["texts"] > 20
            lightness.append(tab.value("getComputedStyle(document.body).backgroundColor"))
    assert seen["shapes"] > 100
    assert {"light": {"rgb(243, 245, 247)"}, "dark": {"rgb(18, 21, 25)"}}[scheme] == set(lightness)


FOCUSABLE = (
    'document.querySelectorAll("a[href], summary, button, input, select, textarea, [tabindex]")'
)
FOCUS = f"""
(() => {{
  const style = getComputedStyle(document.activeElement);
  return [
    [...{FOCUSABLE}].indexOf(document.activeElement),
    style.outlineStyle === "solid" && parseFloat(style.outlineWidth) >= 2,
  ];
}})()
"""
PLACES = (
    f"[...{FOCUSABLE}].map((one) => one.getBoundingClientRect()).map((box) => [box.top, box.left])"
)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tab_key_reaches_every_link_in_reading_order(tab: Tab, width: int) -> None:
    with serve_page(FakeBackend(page=trouble_page())) as url:
        tab.open(url, width=width)
        links = tab.value(f"{FOCUSABLE}.length")
        assert links == 13

        visited = []
        for _ in range(links):
            tab.press_tab()
            visited.append(tab.value(FOCUS))

        assert visited == [[number, True] for number in range(links)]
        places = tab.value(PLACES)
        assert sorted(places) == places


# Names and ids that take more than one line, although they are not too long for it.
BROKEN = """
[...document.querySelectorAll(".name, .id bdi, span.id")]
  .filter((one) => one.checkVisibility() && one.getClientRects().length > 1)
  .map((one) => one.textContent)
"""
TOO_NARROW = """
[...document.querySelectorAll(".name")].filter((one) => one.scrollWidth > one.clientWidth).length
"""


def test_names_and_ids_are_not_broken_at_their_hyphens(tab: Tab) -> None:
    with serve_page(FakeBackend(page=many_tenants())) as url:
        for width in WIDTHS:
            tab.open(url, width=width)
            tab.value(UNFOLD)
            assert tab.value(BROKEN) == []
            assert tab.value(TOO_NARROW) == 0


def test_a_link_to_a_folded_organization_unfolds_it(tab: Tab) -> None:
    with serve_page(FakeBackend(page=many_tenants())) as url:
        tab.open(url, width=1400)
        tab.value("location.hash = '#hq-east/quiet-tenant-1.example'")
        wait_until(
            lambda: tab.value("document.querySelector('.quiet-ones').open"), "the list unfolds"
        )
        top = "document.querySelector(':target').getBoundingClientRect().top"
        wait_until(lambda: 0 <= tab.value(top) < 800, "the organization is on the screen")


def test_a_link_to_a_part_of_the_page_leads_there(tab: Tab) -> None:
    with serve_page(FakeBackend(page=trouble_page())) as url:
        tab.open(url, width=360)
        assert tab.value("scrollY") == 0
        tab.value("document.querySelector('a[href=\"#running\"]').click()")
        top = tab.value('document.getElementById("running").getBoundingClientRect().top')
        assert 0 <= top < 100


def test_a_session_named_like_a_script_is_text(tab: Tab) -> None:
    name = "<script>alert(1)</script>"
    organization = '"><img src=x onerror=alert(2)>'
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(name=name, organization=organization)
    world.add_session(name=name, organization=organization, state="Stopped", result="Failed")
    allowed = "poll_interval: 1s\ninfo_labels: [name]"
    with (
        Simulator(world) as simulator,
        running_exporter(server_yaml(simulator), allowed) as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")
        tab.open(f"{exporter.url}/?pause")

        assert tab.value("document.body.innerText").count(name) == 3  # failed, running and finished
        assert organization in tab.value("document.querySelector('.lanes').innerText")
        assert tab.value("document.querySelectorAll('script, img').length") == 0
        assert tab.complaints() == []


def test_personal_data_does_not_reach_the_page_unless_it_is_allowed(tab: Tab) -> None:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    secret = "What Alice looked for"
    world.add_session(
        name=secret,
        initiated_by=secret,
        client_host=secret,
        scope_name=secret,
        reason=secret,
        details=secret,
        organization="contoso.example",
    )
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        tab.open(f"{exporter.url}/?pause")

        html = tab.value("document.documentElement.outerHTML")
        assert "contoso.example" in html
        assert secret not in html


def test_the_page_loads_nothing_but_itself(tab: Tab) -> None:
    with serve_page(FakeBackend(page=trouble_page())) as url:
        tab.open(url)

        assert tab.requested() == [url]
        assert tab.complaints() == []


def test_an_injected_script_would_not_run(tab: Tab) -> None:
    with serve_page(FakeBackend(page=trouble_page())) as url:
        tab.open(url)
        tab.value(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'document.title = \"taken over\"'}))"
        )

        assert tab.value("document.title") != "taken over"
        wait_until(lambda: tab.complaints() != [], "the browser reports it")
        assert "Content Security Policy" in tab.complaints()[0]


def test_the_page_can_be_read_without_its_colours(tab: Tab) -> None:
    with serve_page(FakeBackend(page=trouble_page())) as url:
        tab.open(url)
        words = tab.value("document.querySelector('.servers').innerText")
        shapes = tab.value(
            "[...document.querySelectorAll('.servers h3 use')].map((one) => one.getAttribute('href'))"
        )

    assert shapes == ["#bad", "#bad", "#wait", "#good"]
    assert [words.count(word) for word in ("down", "not polled yet")] == [2, 1]


@pytest.mark.parametrize("picture", SCREENSHOTS, ids=lambda picture: picture.name)
def test_the_pictures_of_the_readme_can_be_taken(browser: Browser, picture: Screenshot) -> None:
    taken = take(browser, picture)

    assert taken[:4] == b"\x89PNG"
    assert int.from_bytes(taken[16:20]) == picture.width
