"""YAML of other tools as plain values: anchors allowed within a budget, unknown tags as what they hold, nothing built.

`yamlfile` is for files of ours, without aliases. Not covered: documents after the first of a file.
"""

from __future__ import annotations

from functools import cache
from typing import Any

MAX_BYTES = 100_000
MAX_NODES = 20_000
"""Values of one document, every alias counted with all that it stands for."""
MAX_DEPTH = 40


def parse(text: bytes) -> Any:
    """The first document. Raises ValueError for what is too large, too deep, or no YAML."""
    import yaml

    if len(text) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    loader = None
    try:
        loader = _loader()(text)
        return loader.get_data() if loader.check_data() else None
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(
            f"no readable YAML{place}: {getattr(error, 'problem', None) or type(error).__name__}"
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """The safe loader with a budget that is counted before anything is built."""

        def __init__(self, stream: bytes) -> None:
            super().__init__(stream)
            self.left, self.depth = MAX_NODES, 0
            self.sizes: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            alias = self.check_event(yaml.AliasEvent)
            before, self.depth = self.left, self.depth + 1
            if self.depth > MAX_DEPTH:
                raise yaml.YAMLError("nested too deep")
            self.left -= 1
            node = super().compose_node(parent, index)
            if alias:
                if id(node) not in self.sizes:
                    raise yaml.YAMLError("an alias inside of what it stands for")
                self.left -= self.sizes[id(node)]
            else:
                self.sizes[id(node)] = before - self.left
            if self.left < 0:
                raise yaml.YAMLError(f"more than {MAX_NODES:,} values")
            self.depth -= 1
            return node

    def plain(loader: Any, node: Any) -> Any:
        """What stands behind a tag that is not known: the value alone."""
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        return loader.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else str(node.value)

    Loader.add_constructor(None, plain)
    return Loader
