"""``calreg validity``, ``promote`` and ``withdraw``: which sets are used for which contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from calreg.commands.common import (
    AsOfOption,
    GlobalOptions,
    OutputFormat,
    log,
    open_registry,
    pmap_option,
    shared_options,
)
from calreg.commands.output import Column, plain, print_json, print_rows

if TYPE_CHECKING:
    from calreg.sets.acceptance import SetReport, ValidityReport


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(validity)
    app.command()(promote)
    app.command()(withdraw)


def _check_reason(value: str) -> str:
    """Refuse an empty reason."""
    if not value.strip():
        msg = "expected a few words that say why, for those who ask later"
        raise typer.BadParameter(msg)
    return value


SetArgument = Annotated[
    str,
    typer.Argument(
        metavar="SET",
        help="Set id as calreg coefficients --format json shows it, or its first characters.",
    ),
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        help="Why: a few words for those who ask later.",
        callback=_check_reason,
    ),
]

_CONTEXT_COLUMNS = [
    Column("pmap", "pmap"),
    Column("status", "PHOTMJSR"),
    Column("photmjsr_a", "of A", ".6g"),
    Column("photmjsr_b", "of B", ".6g"),
    Column("change_a_mag", "change A [mag]", "+.4f"),
    Column("change_b_mag", "change B [mag]", "+.4f"),
    Column("flat_changed", "flat changed", is_optional=True),
    Column("area_changed", "area changed", is_optional=True),
    Column("basis", "known from"),
]


@shared_options
def validity(
    options: GlobalOptions,
    set_id: SetArgument,
    *,
    as_of_utc: AsOfOption = None,
) -> None:
    """Show for which contexts a set may be used, and why.

    That is where PHOTMJSR of both arrays are known to be what they were when it was measured.
    A context that is not recorded ends the range: silence is never equality.

    Example: calreg validity 3f2a9c41
    """
    with open_registry(options, read_only=True) as registry:
        report = registry.validity(set_id, as_of_utc=as_of_utc)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    print_rows(report.contexts, _CONTEXT_COLUMNS, options.output_format, title=_title(report))


def _title(report: ValidityReport) -> str:
    """Summarise the answer in a few lines."""
    if report.pmap_from == report.pmap_to:
        range_text = f"{report.pmap_from} only"
    else:
        range_text = f"{report.pmap_from} to {report.pmap_to}"
    named = (
        f"set {report.set_id}: {report.band} array {report.array_id} of {report.pmap}, "
        f"field {report.field}, version {report.version}, {report.status}"
    )
    lines = [
        named,
        f"may be used for {range_text}",
        f"not earlier: {report.why_from}",
        f"not later: {report.why_to}",
    ]
    if report.accepted_for is not None:
        lines.append(f"accepted for {report.accepted_for}: {report.acceptance_reason}")
    if report.withdrawal_reason is not None:
        lines.append(f"withdrawn: {report.withdrawal_reason}")
    return "\n".join(lines)


@shared_options
def promote(
    options: GlobalOptions,
    set_id: SetArgument,
    *,
    reason: ReasonOption,
    pmap_from: Annotated[
        str | None,
        pmap_option("--from", "First context [default: the set's own]."),
    ] = None,
    pmap_to: Annotated[
        str | None,
        pmap_option("--to", "Last context, itself included [default: the set's own]."),
    ] = None,
    is_open: Annotated[
        bool, typer.Option("--open", help="Later contexts too, as far as they come.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="End the acceptance of other sets that is in the way.")
    ] = False,
    reinstate: Annotated[
        bool, typer.Option("--reinstate", help="Take a withdrawal of the set back.")
    ] = False,
) -> None:
    """Accept a set for its context, or for a range of contexts.

    From then on it is what exports use there; newer fits are candidates until they are promoted.

    Example: calreg promote 3f2a9c41 --from 1130 --to 1298 --reason "all three epochs"
    """
    with open_registry(options) as registry:
        report = registry.promote(
            set_id,
            reason=reason,
            pmap_from=pmap_from,
            pmap_to=pmap_to,
            is_open=is_open,
            replace=replace,
            reinstate=reinstate,
        )
    for warning in report.warnings:
        log(f"warning: {warning}")
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    last = report.accepted_to or "later ones"
    contexts = last if report.accepted_from == last else f"{report.accepted_from} to {last}"
    done = "unchanged: accepted before" if report.outcome == "unchanged" else "accepted"
    log(f"{done} for {contexts}: {_named(report)}")
    for replaced in report.replaced:
        log(f"no longer accepted: set {replaced}")


@shared_options
def withdraw(
    options: GlobalOptions,
    set_id: SetArgument,
    *,
    reason: ReasonOption,
) -> None:
    """Take a set out of use; nothing takes its place until it is promoted or fitted anew.

    Example: calreg withdraw 3f2a9c41 --reason "scattered light in epoch 2"
    """
    with open_registry(options) as registry:
        report = registry.withdraw(set_id, reason=reason)
    if options.output_format is OutputFormat.JSON:
        print_json(plain(report))
        return
    done = "unchanged: withdrawn before" if report.outcome == "unchanged" else "withdrawn"
    held = f"; {report.n_deliveries} exported files hold it" if report.n_deliveries else ""
    log(f"{done}: {_named(report)}{held}")


def _named(report: SetReport) -> str:
    """Name the set of a report."""
    return (
        f"set {report.set_id} ({report.pmap} {report.band} array {report.array_id}, "
        f"version {report.version})"
    )
