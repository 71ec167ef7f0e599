"""Solves Sudoku boards: bit masks of candidates, naked and hidden singles, then a search of the most constrained cell.

A board is a tuple of symbols, row by row, 0 for a blank cell.
"""

import random
from collections.abc import Iterator, Sequence

from sslkuramoto.sudoku_rules import Side, peers_of, units_of

Grid = tuple[int, ...]
"""The symbols of a board, row by row; 0 is a blank cell."""


class Solver:
    """Finds the solutions of boards of one side.

    Candidates of a cell are a bit mask: bit k stands for symbol k + 1.

    Args:
        side: of the boards in cells.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self.every = (1 << side) - 1
        self.units = units_of(side)
        self.peers = peers_of(side)
        self.units_of = [[k for k, unit in enumerate(self.units) if cell in unit] for cell in range(side**2)]
        self._counts = [mask.bit_count() or side + 1 for mask in range(1 << side)]  # a filled cell comes last
        self._bits = [[1 << k for k in range(side) if mask >> k & 1] for mask in range(1 << side)]

    def solutions(self, grid: Sequence[int]) -> Iterator[Grid]:
        """Yield every solution of a board; none if its givens contradict each other."""
        masks = self._candidates(grid)
        if masks is not None:
            yield from self.search(masks)

    def single(self, grid: Sequence[int]) -> bool:
        """Return whether a board has exactly one solution."""
        found = self.solutions(grid)
        return next(found, None) is not None and next(found, None) is None

    def random_solution(self, draw: random.Random) -> Grid:
        """Return a full board, found by trying the symbols of the most constrained cell in random order."""
        found = self._fill([0] * self.side**2, [self.every] * self.side**2, draw)
        assert found is not None, "an empty board has solutions"
        return tuple(found)

    def _candidates(self, grid: Sequence[int]) -> list[int] | None:
        """Return the candidates that singles leave to each cell; None if there is no solution."""
        masks = [1 << symbol - 1 if symbol else self.every for symbol in grid]
        return masks if self.propagate(masks, [cell for cell, symbol in enumerate(grid) if symbol]) else None

    def propagate(self, masks: list[int], stack: list[int]) -> bool:
        """Remove candidates by naked and hidden singles; False if a cell or a symbol has no place left.

        Args:
            masks: candidates of each cell; changed.
            stack: cells with one candidate that their peers do not know of yet.
        """
        peers, units, every = self.peers, self.units, self.every
        while True:
            while stack:
                cell = stack.pop()
                bit = masks[cell]
                for peer in peers[cell]:
                    mask = masks[peer]
                    if mask & bit:
                        mask ^= bit
                        if not mask:
                            return False
                        masks[peer] = mask
                        if not mask & (mask - 1):
                            stack.append(peer)
            for unit in units:
                once = twice = single = 0
                for cell in unit:
                    mask = masks[cell]
                    twice |= once & mask
                    once |= mask
                    if not mask & (mask - 1):
                        single |= mask
                if once != every:
                    return False
                hidden = every & ~(twice | single)  # each in one cell, which has other candidates
                if hidden:
                    for cell in unit:
                        alone = masks[cell] & hidden
                        if alone & (alone - 1):
                            return False
                        if alone:
                            masks[cell] = alone
                            stack.append(cell)
            if not stack:
                return True

    def search(self, masks: list[int]) -> Iterator[Grid]:
        """Yield every solution within candidates that singles do not reduce."""
        fewest, cell = self.side + 1, -1
        for place, mask in enumerate(masks):
            count = mask.bit_count()
            if 1 < count < fewest:
                fewest, cell = count, place
                if count == 2:
                    break
        if cell < 0:
            yield tuple(mask.bit_length() for mask in masks)
            return
        rest = masks[cell]
        while rest:
            bit = rest & -rest
            rest ^= bit
            tried = masks.copy()
            tried[cell] = bit
            if self.propagate(tried, [cell]):
                yield from self.search(tried)

    def _fill(self, cells: list[int], masks: list[int], draw: random.Random) -> list[int] | None:
        """Return the board with its blank cells filled at random; None if they have no solution.

        The order of draws determines every set: one for the first of the cells with the fewest candidates, none for a
        cell with a single one.

        Args:
            cells: symbols of the board, 0 for a blank cell; changed.
            masks: candidates of its blank cells, none of them with a single one; 0 for a filled cell; changed.
            draw: shuffles the symbols that are tried.
        """
        counts = list(map(self._counts.__getitem__, masks))
        fewest = min(counts)
        if fewest > self.side:
            return cells
        cell = counts.index(fewest)
        bits = self._bits[masks[cell]].copy()
        draw.shuffle(bits)
        for bit in bits:
            tried, left = cells.copy(), masks.copy()
            left[cell] = bit
            if self._place(tried, left, [cell]) and (found := self._fill(tried, left, draw)) is not None:
                return found
        return None

    def _place(self, cells: list[int], masks: list[int], stack: list[int]) -> bool:
        """Fill cells that have a single candidate, and those that then have one; False if a cell is left with none.

        Args:
            cells: symbols of the board; changed.
            masks: as in :meth:`_fill`; changed.
            stack: cells with a single candidate; changed.
        """
        while stack:
            cell = stack.pop()
            bit = masks[cell]
            cells[cell], masks[cell] = bit.bit_length(), 0
            for peer in self.peers[cell]:
                mask = masks[peer]
                if mask & bit:
                    mask ^= bit
                    if not mask:
                        return False
                    masks[peer] = mask
                    if not mask & (mask - 1):
                        stack.append(peer)
        return True


class Digging:
    """A board with exactly one solution, of which given cells are blanked.

    Args:
        solver: of its side.
        grid: the board.
    """

    def __init__(self, solver: Solver, grid: Sequence[int]) -> None:
        self._solver = solver
        self.cells = list(grid)
        self._used = [0] * len(solver.units)  # symbols in each unit, as bits
        for cell, symbol in enumerate(grid):
            self._toggle(cell, 1 << symbol >> 1)

    def _toggle(self, cell: int, bit: int) -> None:
        for unit in self._solver.units_of[cell]:
            self._used[unit] ^= bit

    def blank(self, cell: int) -> bool:
        """Blank a given cell and return True; leave it and return False where the board would have other solutions."""
        symbol = self.cells[cell]
        self._toggle(cell, 1 << symbol - 1)
        self.cells[cell] = 0
        if self._one_solution(cell, 1 << symbol - 1):
            return True
        self._toggle(cell, 1 << symbol - 1)
        self.cells[cell] = symbol
        return False

    def _one_solution(self, cell: int, symbol: int) -> bool:
        """Return whether no other symbol than that of the solution fits a cell; another solution has another one."""
        solver, used, cells = self._solver, self._used, self.cells
        units_of, every = solver.units_of, solver.every
        row, column, box = units_of[cell]
        others = every & ~(used[row] | used[column] | used[box] | symbol)
        if not others:
            return True
        for unit in units_of[cell]:
            for other in solver.units[unit]:
                if not cells[other] and other != cell:
                    row, column, box = units_of[other]
                    if not (used[row] | used[column] | used[box]) & symbol:
                        break
            else:  # the symbol has no other place
                return True
        masks = [
            1 << given - 1 if given else every & ~(used[row] | used[column] | used[box])
            for given, (row, column, box) in zip(cells, units_of, strict=True)
        ]
        masks[cell] = others
        stack = [place for place, mask in enumerate(masks) if not mask & (mask - 1) and not cells[place]]
        return not solver.propagate(masks, stack) or next(solver.search(masks), None) is None
