"""A key store as a platform team may write one, and one that is none."""

import base64

from opaque_jobs.errors import TrustError


class Drawer:
    """A store of somebody else's: the key lies in a drawer that a word opens. Good for tests only."""

    secret_name, chosen, required, optional = "word", False, ("drawer",), ()

    def protect(self, secret, plain, *, where, label, bound_to):
        return {
            **where,
            "secret": base64.b64encode(bytes(byte ^ 7 for byte in plain)).decode(),
            "for": bound_to.hex(),
            "w": self.print_of(secret),
        }

    def reveal(self, secret, held, *, bound_to):
        plain = bytes(byte ^ 7 for byte in base64.b64decode(held["secret"]))
        if held["w"] != self.print_of(secret) or held["for"] != bound_to.hex():
            raise TrustError("the drawer stays shut", hint="")
        return plain

    @staticmethod
    def print_of(secret):
        return str(sum(secret.encode()))


Broken = int
