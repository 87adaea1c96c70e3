"""The numbers that the iteration goes by.

What each is worth, in iterations with half and twice of it, is a table in docs/benchmarks.md.
"""

TRUST_RADIUS = 0.03
"""Residuals up to which a map is taken as it is, in spreads of the chain: see `correction`."""

SPREAD_ROWS = 256
"""Of which the spread of a chain is read off, up to twice as many: see `tolerance.spread`."""

ROUNDING = 4
"""Units in the last place (ulp) of a state that the program which checks it may round otherwise."""

NOISE = 64
"""Grains of the spread that rounding within a step may make of its result: see `tolerance`."""

GRAIN = 2.0**-42
"""The least unit in which noise is counted: an ulp of float32, a thousand of float64. Log densities
that subtract large terms, and coordinates far from zero, lose some of its bits in a step."""

MOST_STEPS = 16
"""Made one by one in an iteration, which it is taken to be worth on a CPU: see `frontier`."""

STALLED = 8
"""Where all but one in so many steps are right, steps are made one by one: see `frontier`."""

STANDING = 4
"""Steps that a chain is guessed to stand still for at first: see `frontier`."""

ASK_AGAIN = 4
"""Where states must be exact, it is asked again after one in so many of the iterations so far."""

WAIT = 4
"""The least number of iterations in which states are seen to move, or not: see `falling`."""

NOT_FALLING = 0.9
"""The least part of their move before that states move again if that is rounding: see `falling`."""

NO_FARTHER = 1.25
"""The most of it in a wait of twice the length, if states do not move on: see `falling`."""

FEW = 8
"""Grains of the spread up to which a residual trembles; more is on its way: see `trembling`."""

PROPORTION = 8
"""How many times its noise a step may be off at a look, and one step in ten once all were within:
as its map is steep. A decision that flips is off by the chain's own moves."""

SHORT = 32
"""Twice what must be found to tremble besides: so few steps come out exact before they stand."""

OWN_MOVES = 1_000
"""How much larger the moves of a chain are than what trembles; otherwise they are the rounding."""

LATTICE_ROWS, LATTICE_PAIRS = 128, 2**21
"""Of the sample of steps whose moves are compared with each other, and pairs of all coordinates."""

LATTICE_SHARE = 100
"""One pair of moves in so many of equal size makes a lattice."""

SHORT_ROW = 4
"""Entries of a row up to which its sum is written out, rather than a kernel of its own on a GPU:
see `rows.of_row`."""
