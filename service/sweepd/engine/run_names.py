"""Names that people can tell apart, for runs whose user gave none."""

from random import Random

__all__ = ["make_name"]

_ADJECTIVES = """
amber airy bold brisk bright calm candid clear cosy crisp dapper deft eager early fair
fine fleet fond frank fresh gentle glad golden hardy hazel humble ivory jolly keen kind
light lively lucid lunar mellow merry mild misty neat nimble noble patient plain polar
proud quick quiet rapid royal rustic sage silent silver snug solar solid spry stable
steady still sunny swift tidy vivid warm wise witty young
"""
_NOUNS = """
acorn alder anchor arbor aspen badger basin beacon birch bloom breeze brook canyon cedar
cliff cloud comet cove crane creek dale dawn delta dune eagle ember falcon fern fjord
forest garnet glade grove harbor hawk heron hill inlet iris island lagoon lake lantern
larch lark leaf maple marsh meadow mesa moss oasis orchard otter pebble pine plover pond
prairie quartz rain reef ridge river robin sail shore sparrow spring spruce stone stream
summit tern thicket tide trail valley wave willow wren
"""


def make_name(number: int, *, rng: Random) -> str:
    """Return an `adjective-noun-number`, such as `calm-heron-12`."""
    return f"{rng.choice(_ADJECTIVES.split())}-{rng.choice(_NOUNS.split())}-{number}"
