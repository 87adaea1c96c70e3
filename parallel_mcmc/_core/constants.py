"""The numbers that the iteration goes by.

A table in docs/benchmarks.md has the iterations with half and twice of those that cost most.
"""

TRUST_RADIUS = 0.03
"""Residuals up to which a map is taken as it is, in spreads of the chain: see `correction`."""

SPREAD_ROWS = 256
"""Rows that give the spread of a chain, or up to twice as many: see `tolerance.spread`."""

ROUNDING = 4
"""Units in the last place (ulp) of a state by which the checking program may round otherwise."""

NOISE = 64
"""Grains of the spread by which rounding within a step may change its result: see `tolerance`."""

GRAIN = 2.0**-42
"""The least unit in which noise is counted: an ulp of float32, a thousand of float64. A step loses
some bits where log densities subtract large terms, or coordinates are far from zero."""

MOST_STEPS = 16
"""Steps made one by one in an iteration: as many as it is worth on a CPU. See `frontier`."""

STALLED = 8
"""Steps are made one by one once all but one in so many are right: see `frontier`."""

STANDING = 4
"""Steps that a chain is guessed to stand still for at first: see `frontier`."""

ASK_AGAIN = 4
"""Where states must be exact, the next check waits for the iterations so far divided by this."""

WAIT = 4
"""The least iterations between two looks at how far states have moved: see `falling`."""

NOT_FALLING = 0.9
"""States that move again by at least this part of their last move tremble: see `falling`."""

NO_FARTHER = 1.25
"""States that move by at most so many times their last move, in a wait of twice its length, have
come to rest: see `falling`."""

FEW = 8
"""Grains of the spread up to which a residual trembles; more is on its way: see `trembling`."""

PROPORTION = 8
"""How many times its noise a step may be off at a look, as steep maps enlarge the move. Once all
steps were within the noise, one step in ten may be off by as much."""

SHORT = 32
"""Added to twice the number of steps that must be found to tremble: where there are few, they come
to rest, exact, sooner than that."""

OWN_MOVES = 1_000
"""The moves of a chain must be so many times larger than what trembles, or they may be rounding. A
step that is off by as much at a look is a decision that tips."""

LATTICE_ROWS, LATTICE_PAIRS = 128, 2**21
"""Steps whose moves are compared with each other, and the most pairs of these, over coordinates."""

LATTICE_SHARE = 100
"""One pair of moves in so many of equal size makes a lattice."""

SHORT_ROW = 4
"""Entries of a row up to which its sum is written out; on a GPU it is else a kernel of its own: see
`rows.of_row`."""
