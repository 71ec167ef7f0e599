"""A run as a folder for a model hub, pushed there when asked for."""

from pathlib import Path

from sslkuramoto.errors import UserError
from sslkuramoto.interop.export_folder import export_torch
from sslkuramoto.interop.trained import Trained


def export_hub_folder(model: Trained, out: Path, *, push: str | None = None) -> list[str]:
    """Write the folder with a card for hubs; push it where ``push`` names a repository.

    Args:
        model: the run.
        out: the folder.
        push: ``OWNER/NAME``; None to push nothing.

    Raises:
        UserError: to push, huggingface_hub or a login is missing, or the hub refuses.
    """
    hub = None if push is None else _logged_in(push)
    lines = export_torch(model, out, front_matter=True)
    return lines if hub is None or push is None else [*lines, _pushed(hub, out, push)]


def _logged_in(repository: str) -> object:
    """Return the hub's client, before anything is written."""
    try:
        from huggingface_hub import HfApi, get_token
    except ImportError:
        raise UserError("--push: needs the package huggingface_hub (pip install huggingface_hub)") from None
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UserError(f"--push={repository}: must read OWNER/NAME")
    if get_token() is None:
        raise UserError(f"--push={repository}: no login found; run: hf auth login")
    return HfApi()


def _pushed(hub: object, out: Path, repository: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    assert isinstance(hub, HfApi)
    try:
        hub.create_repo(repository, exist_ok=True)
        commit = hub.upload_folder(repo_id=repository, folder_path=out, commit_message="Written by sslkuramoto export")
    except (HfHubHTTPError, HFValidationError, OSError) as error:  # OSError: no network
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--push={repository}: {reason}; the folder {out} is complete without") from None
    return f"pushed to {commit.commit_url}"
