"""`rllib-seq` where neither Ray nor torch is installed."""

import sys
from importlib.abc import MetaPathFinder

HIDDEN = ("ray", "torch")


class Hide(MetaPathFinder):
    """Finds nothing where the real ones would be found."""

    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def hide():
    sys.meta_path.insert(0, Hide())


if __name__ == "__main__":
    import importlib.util

    find_spec = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *a: None if name in HIDDEN else find_spec(name, *a)
    hide()
    sys.argv[0] = "rllib-seq"
    from rllib_seq.cli import main

    main()
