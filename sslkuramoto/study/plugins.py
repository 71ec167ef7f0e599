"""Which packages of others a recipe or a protocol uses: their sources decide its result as ours do.

A package adds members to registries by entry points (docs/plugins.md). Content keys hold a hash of all its sources, so
that a changed objective, or a function that it calls, gives a new run.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sslkuramoto.attacks import ATTACKS
from sslkuramoto.errors import Interrupted
from sslkuramoto.evaluation import PROTOCOLS
from sslkuramoto.evaluation.audit.plants import PLANTS
from sslkuramoto.heads import HEADS
from sslkuramoto.objectives import OBJECTIVES, head_of
from sslkuramoto.recipe import PARTS
from sslkuramoto.registry import registry_of
from sslkuramoto.sources import NO_PLUGINS, PACKAGE, Plugins, content_key, package_code, plugins_of


def plugins_named(content: Any) -> Plugins:
    """Return the packages of others whose members are named anywhere in options.

    Args:
        content: plain values, such as those of a recipe or of a protocol. A text that happens to be the name of a
            member counts too. The head that a named objective leaves behind is one of them.
    """
    added: dict[str, list[str]] = {}
    for registry in (*map(registry_of, PARTS), HEADS, ATTACKS, PROTOCOLS, PLANTS):
        for name in registry:
            if not _ours(module := registry.module_of(name)):
                added.setdefault(name, []).append(module)
    if not added:
        return NO_PLUGINS
    named = set(_texts(content))
    heads = {head.name for name in named & {*OBJECTIVES} if (head := head_of(name)) is not None}
    return plugins_of(module for name in named | heads for module in added.get(name, ()))


def check_unchanged(plugins: Plugins) -> None:
    """Check that this process has the sources that a plan was made with.

    Raises:
        Interrupted: one of the packages is another one.
    """
    for package, known in plugins.items():
        if content_key(package_code(package)) != known:
            raise Interrupted(f"the source of {package} changed after the plan was made; start again")


def _ours(module: str) -> bool:
    return module.partition(".")[0] == PACKAGE.name


def _texts(value: Any) -> Iterator[str]:
    """Yield every text inside a value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
