"""The registers of people and assets."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct

from collector.console.gate import note
from collector.console.routes.common import (
    Call,
    OptionalQueryText,
    OptionalReason,
    QueryText,
    Text,
    caller_of,
    console_of,
    section_for,
)
from collector.console.views import AssetView, PersonView, asset, person
from collector.registers import assets, people
from policies.model import Subject

Id = Annotated[str, Meta(min_length=1, max_length=64)]


class NewPerson(Struct, frozen=True, forbid_unknown_fields=True):
    """A person; ``roles`` are offices as ordinances name them (network_manager, section_head …)."""

    id: Id
    name: Text
    section: Text = ""
    roles: Annotated[tuple[Id, ...], Meta(max_length=32)] = ()


class NewAsset(Struct, frozen=True, forbid_unknown_fields=True):
    """A device, medium or PC of the city; ``subject`` says how PCs recognise it."""

    id: Id
    kind: assets.AssetKind
    subject: Subject
    section: Text = ""
    note: OptionalReason = ""


@get("/people", sync_to_thread=True)
def list_people(request: Call, section: OptionalQueryText = None, role: QueryText = "") -> list[PersonView]:
    """People by login name."""
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section)
    with console.store.read() as session:
        return [person(row) for row in people.list_people(session, section=wanted, role=role)]


@post("/people", sync_to_thread=True)
def add_person(request: Call, data: JSONBody[NewPerson]) -> PersonView:
    """Register a person. 409 ``already_there``."""
    note(request.scope, person=data.id)
    with console_of(request).store.write() as session:
        return person(people.add_person(session, data.id, data.name, section=data.section, roles=data.roles))


@get("/assets", sync_to_thread=True)
def list_assets(request: Call, kind: QueryText = "", section: OptionalQueryText = None) -> list[AssetView]:
    """Assets by id."""
    caller, console = caller_of(request), console_of(request)
    wanted = section_for(caller, section)
    with console.store.read() as session:
        return [asset(row) for row in assets.list_assets(session, kind=kind, section=wanted)]


@post("/assets", sync_to_thread=True)
def add_asset(request: Call, data: JSONBody[NewAsset]) -> AssetView:
    """Register an asset; its MAC counts at once, the rest with the next policy release. 409 ``already_there``, 422 ``bad_value``."""
    console = console_of(request)
    note(request.scope, asset=data.id)
    with console.store.write() as session:
        row = assets.add_asset(
            session,
            data.id,
            data.kind,
            data.subject,
            created_by=caller_of(request).name,
            now_us=console.clock(),
            section=data.section,
            note=data.note,
        )
        added = asset(row)
    console.poke("registers", "detector")
    return added


HANDLERS = (list_people, add_person, list_assets, add_asset)
