"""The constants of the iteration.

A table in docs/benchmarks.md shows the iterations with the most important ones halved and doubled.
"""

TRUST_RADIUS = 0.03
"""Residuals up to which a map is not limited, in spreads of the chain: see `correction`."""

FAR = 10 * TRUST_RADIUS
"""Residuals from which on a state at rest waits, by Jacobi: see `moves`."""

HELD_LONGER = 16
"""Iterations for which states that tremble are held longer by the solver that goes on after Jacobi:
half of the steps are near at once then, and it needs time for the rest. See `moves`."""

LARGE_ROWS = 1_000
"""Jacobi hands over to another solver once less than one step in so many has a residual of more
than `TRUST_RADIUS`: a few of them would travel on, at three times the cost."""

SPREAD_ROWS = 256
"""Rows, or up to twice as many, from which the spread is estimated: see `tolerance.spread`."""

ROUNDING = 4
"""Units in the last place (ulp) of a state by which two programs may round differently."""

NOISE = 64
"""Grains of the spread by which rounding within a step may change its result: see `tolerance`."""

GRAIN = 2.0**-40
"""The smallest unit of noise: an ulp of float32, four thousand of float64. A step loses some bits
where log densities subtract large terms, or coordinates are far from zero."""

STANDING = 4
"""Steps for which a chain is first guessed to stand still: see `moves`."""

ASK_AGAIN = 4
"""Where states must be exact, the next check waits for the iterations so far divided by this."""

WAIT = 4
"""The least iterations between two checks of how far states have moved: see `falling`."""

NOT_FALLING = 0.9
"""States that move by at least this fraction of their last move tremble: see `falling`."""

NO_FARTHER = 1.25
"""States have come to rest if they move by at most this many times their last move, in a wait that
is twice as long: see `falling`."""

FEW = 8
"""Grains of the spread up to which a residual trembles; larger ones still fall: see `trembling`."""

PROPORTION = 8
"""How many times the noise a step may be off at a look, as steep maps enlarge the move."""

ENLARGED = 64
"""Once all steps have been within the noise, one in ten may be off by up to this many times as
much, as a stretch that expands enlarges what its first state trembles by. In double precision that
is 4e-9 of the spread; in single precision, and in windows that slide, it is `PROPORTION`."""

SHORT = 32
"""Added to twice the number of steps that must be found to tremble: if only a few tremble, they
become exact before that."""

OWN_MOVES = 1_000
"""The moves of a chain must be this many times larger than what trembles, or they may be rounding.
A step that is off by as much at a look is a decision that flips."""

LATTICE_ROWS, LATTICE_PAIRS = 128, 2**21
"""Steps whose moves are compared pairwise, and the most pairs, over all coordinates."""

LATTICE_SHARE = 100
"""If one pair of moves in this many has equal size, the moves are those of a lattice."""

SHORT_ROW = 4
"""Entries of a row up to which its sum is written out; on a GPU it would otherwise be a kernel of
its own: see `rows.of_row`."""
