"""What does it cost? Shapes, memory, parameters, multiply-adds, receptive field, time.

For other programs: `from lineside.ledger import cost`.
"""

from lineside.ledger.cost import cost

__all__ = ["cost"]
