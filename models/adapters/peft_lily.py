"""Lily (Zhong et al., 2024, arXiv:2407.09946): low-rank updates whose parts are shared between layers by a router."""

from .peft import Peft


class PeftLily(Peft):
    """h = W x + s B(x) A x, where B(x) is mixed from shared experts by the token itself, so that no one weight holds
    the update: it does not merge."""

    @property
    def merges(self) -> bool:
        return False
