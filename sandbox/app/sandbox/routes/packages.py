"""Install and list packages."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from servicekit.context import current_context
from servicekit.hangup import until_hangup
from servicekit.wire.execution import PackageInstalled, PackageList, PackageRequest

from sandbox.routes.wiring import wiring_of

router = APIRouter(prefix="/packages", tags=["packages"])


@router.post("", operation_id="sandbox_install_package", tags=["tool"])
async def install_package(order: PackageRequest, request: Request) -> PackageInstalled:
    """Vet and install a package: for one session, for every new session, or for both.

    A refusal (422 `package-refused`) names the rule, the package that was probably meant,
    and what an operator can do. Where the policy says so, a name waits for an operator's
    approval (403 `package-awaits-approval`). Only wheels are installed: no install runs code.
    """
    install = wiring_of(request).packages.install(order, deadline=current_context().deadline)
    return await until_hangup(request, install)


@router.get("", operation_id="sandbox_list_packages", tags=["tool"])
async def list_packages(
    request: Request,
    session_id: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> PackageList:
    """List the packages that a session sees; without `session_id`, those of a new session."""
    listing = wiring_of(request).packages.list_for(session_id, deadline=current_context().deadline)
    return await until_hangup(request, listing)


@router.delete("/{package}", operation_id="sandbox_remove_package")
async def remove_package(
    package: Annotated[str, Path(min_length=1, max_length=214)],
    request: Request,
    session_id: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
) -> PackageList:
    """Take a package, and what only it needed, from a session or else from new sessions.

    Sessions that are open keep what they see, but for the one that is named. What is already
    imported stays imported.
    """
    removal = wiring_of(request).packages.remove(
        package, session_id, deadline=current_context().deadline
    )
    return await until_hangup(request, removal)
