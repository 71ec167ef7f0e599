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

    def solutions(self, grid: Sequence[int]) -> Iterator[Grid]:
        """Yield every solution of a board; none if its givens contradict each other."""
        masks = self._candidates(grid)
        if masks is not None:
            yield from self._search(masks)

    def single(self, grid: Sequence[int]) -> bool:
        """Return whether a board has exactly one solution."""
        found = self.solutions(grid)
        return next(found, None) is not None and next(found, None) is None

    def needs(self, grid: Sequence[int], cell: int) -> bool:
        """Return whether a board with one solution has several once a given cell is blanked.

        Args:
            grid: a board with exactly one solution.
            cell: a given one.
        """
        symbol = grid[cell]
        if self._follows(grid, cell):
            return False
        cells = list(grid)
        cells[cell] = 0
        masks = self._candidates(cells)
        assert masks is not None, "the board has a solution"
        others = masks[cell] & ~(1 << symbol - 1)  # another solution has another symbol here
        if not others:
            return False
        masks[cell] = others
        stack = [] if others & (others - 1) else [cell]
        return self._propagate(masks, stack) and next(self._search(masks), None) is not None

    def random_solution(self, draw: random.Random) -> Grid:
        """Return a full board, found by trying the symbols of the most constrained cell in random order."""
        masks = [self.every] * self.side**2
        cells = [0] * self.side**2
        blank = list(range(self.side**2))
        assert self._fill(cells, masks, blank, draw), "an empty board has solutions"
        return tuple(cells)

    def _follows(self, grid: Sequence[int], cell: int) -> bool:
        """Return whether the other givens force the symbol of a cell by a naked or a hidden single."""
        symbol, peers = grid[cell], self.peers
        if len({grid[peer] for peer in peers[cell]} - {0}) == self.side - 1:
            return True
        for unit in self.units:
            if cell in unit and all(
                grid[other] or other == cell or any(grid[peer] == symbol and peer != cell for peer in peers[other])
                for other in unit
            ):
                return True
        return False

    def _candidates(self, grid: Sequence[int]) -> list[int] | None:
        """Return the candidates that singles leave to each cell; None if there is no solution."""
        masks = [1 << symbol - 1 if symbol else self.every for symbol in grid]
        return masks if self._propagate(masks, [cell for cell, symbol in enumerate(grid) if symbol]) else None

    def _propagate(self, masks: list[int], stack: list[int]) -> bool:
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
                once = twice = 0
                for cell in unit:
                    mask = masks[cell]
                    twice |= once & mask
                    once |= mask
                if once != every:
                    return False
                for cell in unit:
                    mask = masks[cell]
                    hidden = mask & ~twice
                    if hidden and hidden != mask:
                        if hidden & (hidden - 1):
                            return False
                        masks[cell] = hidden
                        stack.append(cell)
            if not stack:
                return True

    def _search(self, masks: list[int]) -> Iterator[Grid]:
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
            if self._propagate(tried, [cell]):
                yield from self._search(tried)

    def _fill(self, cells: list[int], masks: list[int], blank: list[int], draw: random.Random) -> bool:
        """Fill the blank cells at random; False if they have no solution. The order of draws determines every set."""
        if not blank:
            return True
        cell = min(blank, key=lambda place: masks[place].bit_count())
        rest = [place for place in blank if place != cell]
        symbols = [symbol for symbol in range(1, self.side + 1) if masks[cell] >> symbol - 1 & 1]
        draw.shuffle(symbols)
        for symbol in symbols:
            bit = 1 << symbol - 1
            cells[cell] = symbol
            touched = [peer for peer in self.peers[cell] if masks[peer] & bit]
            for peer in touched:
                masks[peer] ^= bit
            if self._fill(cells, masks, rest, draw):
                return True
            for peer in touched:
                masks[peer] ^= bit
        cells[cell] = 0
        return False
